// 1x1 convolutions: products of blocks of pixels with the weight's panels.
#include "convolution.hpp"

#include "busaug/api.hpp"
#include "busaug/status.hpp"
#include "pool.hpp"

#include <algorithm>
#include <atomic>
#include <limits>
#include <new>

namespace busaug {
namespace {

// Pixels that a thread takes at a time: a panel of the weight is read once for them, and they stay
// in the cache meanwhile.
constexpr Index block_rows = 96;

const float* at(const float* array, Index offset) {
    return array == nullptr ? nullptr : array + offset;
}

} // namespace

void pointwise_pack(const ConvolutionWeight& extent, const float* weight, bool transposed,
                    float* packed) {
    const auto [out, in] = extent;
    check_channels(in, out);
    for (Index o = 0; o < out; ++o) {
        for (Index i = 0; i < in; ++i) {
            packed[transposed ? in_panels(o, i, out) : in_panels(i, o, in)] = weight[o * in + i];
        }
    }
}

void pointwise_cpu(const PointwiseParams& params, const PointwiseArrays& arrays, int threads,
                   const std::string& simd) {
    const Index depth = params.channels_in, columns = params.channels_out;
    check_channels(depth, columns);
    require(params.pixels >= 0, "pointwise: extents must not be negative");
    require(threads > 0, "pointwise: threads must be positive");
    const ConvolutionKernels& kernels = required_kernels(simd);
    const float least = params.rectify ? 0.0F : -std::numeric_limits<float>::infinity();

    std::atomic<bool> starved{false};
    const auto work = [&](const Range& blocks) {
        float* const gated = arrays.gate == nullptr ? nullptr : scratch(block_rows * depth);
        if (arrays.gate != nullptr && gated == nullptr) {
            starved = true;
            return;
        }
        for (Index block = blocks.begin; block < blocks.end; ++block) {
            const Index first = block * block_rows;
            const Index rows = std::min(block_rows, params.pixels - first);
            const float* pixels = arrays.images + first * depth;
            if (gated != nullptr) {
                kernels.gate({rows * depth, pixels, arrays.gate + first * depth, gated});
                pixels = gated;
            }
            const Index to = first * columns;
            kernels.product({rows, depth, columns, pixels, arrays.packed, arrays.bias,
                             at(arrays.addend, to), at(arrays.addend_gate, to), least,
                             arrays.output + to});
        }
    };
    const Index blocks = (params.pixels + block_rows - 1) / block_rows;
    SharedLoop<decltype(work)>(blocks, blocks, work).run(threads);
    if (starved) {
        throw std::bad_alloc();
    }
}

} // namespace busaug
