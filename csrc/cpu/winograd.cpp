// 3x3 convolutions: the weight's transform, tiles, threads.
#include "convolution.hpp"

#include "busaug/api.hpp"
#include "busaug/status.hpp"
#include "pool.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <new>

namespace busaug {
namespace {

constexpr Index inputs = tile_inputs, outputs = tile_outputs, points = tile_points;

// Tiles that a thread transforms, multiplies and transforms back at a time, at the most: many, for
// the kernel is read once for them, and few enough for their points to stay in a cache.
constexpr Index most_tiles = 96;

// Points of one kind lie apart by the tiles' channels and this, lest those of all 36 kinds, which a
// transform writes in turn, fall into the same few lines of the cache.
constexpr Index padding = panel;

// G of the points 0, +-sqrt(1/2), +-sqrt(2), infinity: powers of a point over the product of its
// differences from the others.
struct KernelTransform {
    double rows[inputs][3];

    KernelTransform() {
        const double near = std::sqrt(0.5), far = std::sqrt(2.0);
        const double finite[] = {0.0, near, -near, far, -far};
        for (Index i = 0; i < inputs - 1; ++i) {
            double scale = 1.0;
            for (Index j = 0; j < inputs - 1; ++j) {
                scale *= j == i ? 1.0 : finite[i] - finite[j];
            }
            for (Index k = 0; k < 3; ++k) {
                rows[i][k] = std::pow(finite[i], static_cast<double>(k)) / scale;
            }
        }
        rows[inputs - 1][0] = rows[inputs - 1][1] = 0.0;
        rows[inputs - 1][2] = 1.0;
    }

    double at(Index row, double x, double y, double z) const {
        return rows[row][0] * x + rows[row][1] * y + rows[row][2] * z;
    }
};

constexpr float lowest = -std::numeric_limits<float>::infinity();

// Rounded up.
Index divided(Index whole, Index part) { return (whole + part - 1) / part; }

struct Tiling {
    Index across, down, all;

    explicit Tiling(const WinogradParams& params)
        : across(divided(params.width, outputs)), down(divided(params.height, outputs)),
          all(params.images * across * down) {}
};

// Tile `index` in the batch: its image, first row and column.
struct Place {
    Index image, row, column;

    Place(const Tiling& tiling, Index index)
        : image(index / (tiling.across * tiling.down)),
          row(index / tiling.across % tiling.down * outputs),
          column(index % tiling.across * outputs) {}
};

} // namespace

void winograd_pack(const ConvolutionWeight& extent, const float* weight, bool transposed,
                   float* packed) {
    const auto [out, in] = extent;
    check_channels(in, out);
    static const KernelTransform g;
    for (Index o = 0; o < out; ++o) {
        for (Index i = 0; i < in; ++i) {
            const float* const kernel = weight + 9 * (o * in + i);
            float* const to = packed + (transposed ? in_panels(o, i, out) : in_panels(i, o, in));
            double columns[3][inputs]; // G g, turned over
            for (Index j = 0; j < 3; ++j) {
                double column[3];
                for (Index row = 0; row < 3; ++row) {
                    const Index k = 3 * row + j;
                    column[row] = static_cast<double>(kernel[transposed ? 8 - k : k]);
                }
                for (Index row = 0; row < inputs; ++row) {
                    columns[j][row] = g.at(row, column[0], column[1], column[2]);
                }
            }
            for (Index p = 0; p < points; ++p) {
                const Index row = p / inputs;
                to[p * in * out] = static_cast<float>(
                    g.at(p % inputs, columns[0][row], columns[1][row], columns[2][row]));
            }
        }
    }
}

void winograd_cpu(const WinogradParams& params, const WinogradArrays& arrays, int threads,
                  const std::string& simd) {
    check_channels(params.channels_in, params.channels_out);
    require(params.images >= 0 && params.height > 0 && params.width > 0,
            "winograd: extents must be positive");
    require(threads > 0, "winograd: threads must be positive");
    const ConvolutionKernels& kernels = required_kernels(simd);

    const Index c = params.channels_in, n = params.channels_out;
    const Index pixels = params.height * params.width;
    const float least = params.rectify ? 0.0F : lowest;
    const Tiling tiling(params);
    if (tiling.all == 0) {
        return;
    }
    // Of one size, as many for every thread.
    const Index size = divided(tiling.all, threads * divided(tiling.all, threads * most_tiles));
    const Index blocks = divided(tiling.all, size);
    const Index in_stride = size * c + padding, out_stride = size * n + padding;

    std::atomic<bool> starved{false};
    const auto work = [&](const Range& some) {
        float* const before = scratch(points * (in_stride + out_stride));
        if (before == nullptr) {
            starved = true;
            return;
        }
        float* const after = before + points * in_stride;
        for (Index block = some.begin; block < some.end; ++block) {
            const Index first = block * size;
            const Index count = std::min(size, tiling.all - first);
            for (Index t = 0; t < count; ++t) {
                const Place at(tiling, first + t);
                const Index image = at.image * pixels * c;
                kernels.input({arrays.images + image,
                               arrays.gate == nullptr ? nullptr : arrays.gate + image,
                               params.height, params.width, c, at.row - 1, at.column - 1,
                               before + t * c, in_stride});
            }
            for (Index p = 0; p < points; ++p) {
                kernels.product({count, c, n, before + p * in_stride, arrays.packed + p * c * n,
                                 nullptr, nullptr, nullptr, lowest, after + p * out_stride});
            }
            for (Index t = 0; t < count; ++t) {
                const Place at(tiling, first + t);
                kernels.output({after + t * n, out_stride, arrays.bias, least,
                                arrays.output + at.image * pixels * n, params.height, params.width,
                                n, at.row, at.column});
            }
        }
    };
    SharedLoop<decltype(work)>(blocks, blocks, work).run(threads);
    if (starved) {
        throw std::bad_alloc();
    }
}

} // namespace busaug
