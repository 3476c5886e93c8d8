// Compares the convolutions' kernels for AVX-512, run by halves, with those for AVX2, bit for bit.
//
// Prints a line a kernel, "name compared different": values compared, of which so many differ.
// What lies around the outputs is compared as well; reads beyond the inputs are AddressSanitizer's.
#include "convolution.hpp"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <random>
#include <vector>

namespace {

using busaug::ConvolutionKernels;
using busaug::Index;
using Values = std::vector<float>;

constexpr float infinity = std::numeric_limits<float>::infinity();
std::mt19937 bits(0);

// About zero; one in sixteen is a zero, of either sign.
Values drawn(Index count) {
    std::normal_distribution<float> normal;
    Values values(static_cast<std::size_t>(count));
    for (float& value : values) {
        value = normal(bits);
        if (bits() % 16 == 0) {
            value = std::copysign(0.0F, value);
        }
    }
    return values;
}

const float* or_null(const Values& values, bool given) { return given ? values.data() : nullptr; }

struct Count {
    const char* name;
    long compared = 0, different = 0;

    // Of an output of `size` between margins, written by either's kernels.
    template <class Run> void compare(Index size, Run run) {
        constexpr Index margin = 64;
        Values by_avx512 = drawn(size + 2 * margin), by_avx2 = by_avx512;
        run(busaug::convolution_avx512, by_avx512.data() + margin);
        run(busaug::convolution_avx2, by_avx2.data() + margin);
        for (std::size_t i = 0; i < by_avx2.size(); ++i) {
            different += std::memcmp(&by_avx512[i], &by_avx2[i], sizeof(float)) != 0;
        }
        compared += size;
    }

    ~Count() { std::printf("%s %ld %ld\n", name, compared, different); }
};

void gates() {
    Count count{"gate"};
    for (const Index size : {16, 32, 48, 80}) {
        Values pixels = drawn(size), gate = drawn(size);
        gate[3] = gate[12] = std::numeric_limits<float>::quiet_NaN();
        pixels[5] = pixels[14] = std::numeric_limits<float>::quiet_NaN();
        count.compare(size, [&](const ConvolutionKernels& kernels, float* to) {
            kernels.gate({size, pixels.data(), gate.data(), to});
        });
    }
}

void inputs() {
    Count count{"input"};
    for (const Index channels : {16, 48}) {
        for (const Index side : {1, 4, 7, 9}) {
            const Values pixels = drawn(side * 5 * channels), gate = drawn(side * 5 * channels);
            const Index stride = channels + 16;
            for (Index row = -1; row < side; row += 4) {
                for (const bool gated : {false, true}) {
                    count.compare(busaug::tile_points * stride,
                                  [&](const ConvolutionKernels& kernels, float* points) {
                                      kernels.input({pixels.data(), or_null(gate, gated), side, 5,
                                                     channels, row, -1, points, stride});
                                  });
                }
            }
        }
    }
}

void outputs() {
    Count count{"output"};
    for (const Index channels : {16, 48}) {
        const Index stride = channels + 16;
        const Values points = drawn(busaug::tile_points * stride), bias = drawn(channels);
        for (const Index side : {1, 4, 7}) {
            for (const bool biased : {false, true}) {
                for (const float least : {0.0F, -infinity}) {
                    count.compare(
                        side * 6 * channels, [&](const ConvolutionKernels& kernels, float* pixels) {
                            for (Index row = 0; row < side; row += busaug::tile_outputs) {
                                kernels.output({points.data(), stride, or_null(bias, biased), least,
                                                pixels, side, 6, channels, row, 4});
                            }
                        });
                }
            }
        }
    }
}

void products() {
    Count count{"product"};
    for (const Index columns : {16, 32, 48, 80}) {
        for (const Index depth : {1, 16, 37}) {
            const Values bias = drawn(columns), weight = drawn(depth * columns);
            for (Index rows = 1; rows <= 26; ++rows) {
                const Values a = drawn(rows * depth);
                const Values addend = drawn(rows * columns), gate = drawn(rows * columns);
                for (unsigned what = 0; what < 16; ++what) {
                    const bool biased = (what & 1) != 0, added = (what & 2) != 0;
                    const bool gated = added && (what & 4) != 0;
                    const float least = (what & 8) != 0 ? 0.0F : -infinity;
                    count.compare(rows * columns, [&](const ConvolutionKernels& kernels, float* c) {
                        kernels.product({rows, depth, columns, a.data(), weight.data(),
                                         or_null(bias, biased), or_null(addend, added),
                                         or_null(gate, gated), least, c});
                    });
                }
            }
        }
    }
}

} // namespace

int main() {
    gates();
    inputs();
    outputs();
    products();
}
