// Steps of the alpha-beta rule on a CUDA device: a thread an element, grid-stride; the sums of a
// product by one thread block each, in a fixed order.
#include "busaug/lrp.hpp"

#include "busaug/api.hpp"
#include "busaug/status.hpp"
#include "launch.hpp"

#include <algorithm>
#include <cmath>

namespace busaug {
namespace {

constexpr int threads_a_block = 256;
constexpr Index largest_grid = 1 << 20; // blocks; beyond it threads take several elements

LaunchShape shape_for(Index blocks, const OnCuda& where) {
    return {dim3(static_cast<unsigned>(std::min(blocks, largest_grid))), dim3(threads_a_block), 0,
            static_cast<cudaStream_t>(where.stream)};
}

LaunchShape shape_of_elements(Index elements, const OnCuda& where) {
    return shape_for((elements + threads_a_block - 1) / threads_a_block, where);
}

// Calls work(element) once for each, whatever the grid.
template <class Work> __device__ void for_each_element(Index count, const Work& work) {
    const Index stride = static_cast<Index>(gridDim.x) * blockDim.x;
    for (Index e = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; e < count;
         e += stride) {
        work(e);
    }
}

template <LrpFactor kind, class Real>
__global__ void __launch_bounds__(threads_a_block)
    quotients_kernel(LrpUnits units, AlphaBeta<Real> rule, LrpLayer<Real> layer, Real* quotients) {
    for_each_element(units.size(), [&](Index e) {
        const LrpUnit<Real> unit{layer.positive[e], layer.linear[e], layer.bias[units.channel(e)]};
        const auto s = unit_quotients(rule, unit, unit_relevance<kind>(unit, layer.factor[e]));
        quotients[units.part(e, 0, 2)] = s.positive;
        quotients[units.part(e, 1, 2)] = s.negative;
    });
}

template <class Real>
__global__ void __launch_bounds__(threads_a_block)
    rectified_sum_kernel(LrpUnits units, const Real* __restrict__ left,
                         const Real* __restrict__ right, const Real* __restrict__ bias,
                         Real* __restrict__ output) {
    for_each_element(units.size(), [&](Index e) {
        const Real sum = right == nullptr ? left[e] : left[e] + right[e];
        output[e] = above_zero(sum + bias[units.channel(e)]);
    });
}

template <class Real>
__global__ void __launch_bounds__(threads_a_block)
    split_kernel(LrpUnits units, const Real* __restrict__ inputs, Real* __restrict__ split) {
    for_each_element(units.size(), [&](Index e) {
        split_by_sign(inputs[e], split[units.part(e, 0, 2)], split[units.part(e, 1, 2)]);
    });
}

template <class Real>
__global__ void __launch_bounds__(threads_a_block)
    merge_kernel(LrpUnits units, const Real* __restrict__ inputs, const Real* __restrict__ back,
                 Real* __restrict__ merged) {
    for_each_element(units.size(), [&](Index e) {
        merged[e] = merge_by_sign(inputs[e], back[units.part(e, 0, 2)], back[units.part(e, 1, 2)]);
    });
}

// Strided sums and a tree: the order of additions never changes.
template <class Real>
__global__ void __launch_bounds__(threads_a_block)
    product_kernel(LrpImages extent, const Real* __restrict__ left, const Real* __restrict__ right,
                   Real* __restrict__ product, LrpSums* __restrict__ sums) {
    __shared__ double sum[threads_a_block];
    __shared__ double magnitude[threads_a_block];
    const unsigned rank = threadIdx.x;
    for (Index block = blockIdx.x; block < extent.all_blocks(); block += gridDim.x) {
        const Index end = extent.end(block);
        double own_sum = 0.0;
        double own_magnitude = 0.0;
        for (Index i = extent.begin(block) + rank; i < end; i += threads_a_block) {
            const Real value = left[i] * right[i];
            product[i] = value;
            own_sum += static_cast<double>(value);
            own_magnitude += std::fabs(static_cast<double>(value));
        }
        sum[rank] = own_sum;
        magnitude[rank] = own_magnitude;
        __syncthreads();
        for (unsigned half = threads_a_block / 2; half > 0; half /= 2) {
            if (rank < half) {
                sum[rank] += sum[rank + half];
                magnitude[rank] += magnitude[rank + half];
            }
            __syncthreads();
        }
        if (rank == 0) {
            sums[block] = {sum[0], magnitude[0]};
        }
        __syncthreads();
    }
}

template <LrpFactor kind, class Real>
void launch_quotients(const LrpUnits& units, const LrpRule& rule, const LrpLayer<Real>& layer,
                      Real* quotients, const OnCuda& where) {
    launch("lrp quotients", quotients_kernel<kind, Real>, shape_of_elements(units.size(), where),
           units,
           alpha_beta<Real>(rule.alpha, rule.beta, rule.zero_part, rule.absorb_bias, rule.rounding),
           layer, quotients);
}

// Makes the device current, unless there is nothing to do.
template <class Work> void on_device(Index elements, const OnCuda& where, const Work& work) {
    if (elements == 0) {
        return;
    }
    const DeviceGuard guard(where.device);
    work();
}

} // namespace

template <class Real>
Index lrp_quotients(const LrpUnits& units, const LrpRule& rule, const LrpLayer<Real>& layer,
                    Real* quotients, const OnCuda& where) {
    check_lrp(units);
    check_lrp(rule);
    require(rule.parts == 2, "lrp: on CUDA both quotients are written");
    on_device(units.size(), where, [&] {
        switch (rule.factor) {
        case LrpFactor::relevance:
            return launch_quotients<LrpFactor::relevance>(units, rule, layer, quotients, where);
        case LrpFactor::gradient:
            return launch_quotients<LrpFactor::gradient>(units, rule, layer, quotients, where);
        case LrpFactor::rectified_gradient:
            return launch_quotients<LrpFactor::rectified_gradient>(units, rule, layer, quotients,
                                                                   where);
        }
    });
    return 0;
}

template <class Real>
void lrp_rectified_sum(const LrpUnits& units, const Real* left, const Real* right, const Real* bias,
                       Real* output, const OnCuda& where) {
    check_lrp(units);
    on_device(units.size(), where, [&] {
        launch("lrp rectified sum", rectified_sum_kernel<Real>,
               shape_of_elements(units.size(), where), units, left, right, bias, output);
    });
}

template <class Real>
void lrp_split(const LrpUnits& units, const Real* inputs, Real* split, const OnCuda& where) {
    check_lrp(units);
    on_device(units.size(), where, [&] {
        launch("lrp split", split_kernel<Real>, shape_of_elements(units.size(), where), units,
               inputs, split);
    });
}

template <class Real>
void lrp_merge(const LrpUnits& units, const Real* inputs, const Real* back, Real* merged,
               const OnCuda& where) {
    check_lrp(units);
    on_device(units.size(), where, [&] {
        launch("lrp merge", merge_kernel<Real>, shape_of_elements(units.size(), where), units,
               inputs, back, merged);
    });
}

template <class Real>
void lrp_product(const LrpImages& extent, const Real* left, const Real* right, Real* product,
                 LrpSums* sums, const OnCuda& where) {
    check_lrp(extent);
    on_device(extent.images, where, [&] {
        launch("lrp product", product_kernel<Real>, shape_for(extent.all_blocks(), where), extent,
               left, right, product, sums);
    });
}

#define BUSAUG_INSTANTIATE(Real)                                                                   \
    template Index lrp_quotients(const LrpUnits&, const LrpRule&, const LrpLayer<Real>&, Real*,    \
                                 const OnCuda&);                                                   \
    template void lrp_rectified_sum(const LrpUnits&, const Real*, const Real*, const Real*, Real*, \
                                    const OnCuda&);                                                \
    template void lrp_split(const LrpUnits&, const Real*, Real*, const OnCuda&);                   \
    template void lrp_merge(const LrpUnits&, const Real*, const Real*, Real*, const OnCuda&);      \
    template void lrp_product(const LrpImages&, const Real*, const Real*, Real*, LrpSums*,         \
                              const OnCuda&);

BUSAUG_INSTANTIATE(float)
BUSAUG_INSTANTIATE(double)

} // namespace busaug
