// SRAD on a CUDA device. An image that fits the shared memory of a block, or of a cluster of them,
// stays there through all iterations; any other goes through global memory once an iteration. Both
// ways walk the strips of srad_strip.hpp and sum the rows of srad_speckle.hpp, so that the result
// depends neither on the way taken nor on the cut among blocks.
#include "busaug/api.hpp"
#include "busaug/status.hpp"
#include "srad_batch.hpp"
#include "srad_in_memory.hpp"
#include "srad_on_chip.hpp"

#include <cstdint>
#include <type_traits>

namespace busaug {
namespace {

template <class Real> bool aligned(const Real* pointer) {
    return reinterpret_cast<std::uintptr_t>(pointer) % (wide_columns<Real> * sizeof(Real)) == 0;
}

template <class Real> int widest_columns(const SradParams& params) {
    return params.width % wide_columns<Real> == 0 ? wide_columns<Real> : 1;
}

// Calls work with the form and the columns a lane, a power of two, as constants.
template <class Real, class Work> auto with_variant(SradForm form, int columns, const Work& work) {
    using Rational = std::integral_constant<SradForm, SradForm::rational>;
    using Exponential = std::integral_constant<SradForm, SradForm::exponential>;
    using Wide = std::integral_constant<int, wide_columns<Real>>;
    using Narrow = std::integral_constant<int, 1>;
    if (form == SradForm::rational) {
        return columns == 1 ? work(Rational{}, Narrow{}) : work(Rational{}, Wide{});
    }
    return columns == 1 ? work(Exponential{}, Narrow{}) : work(Exponential{}, Wide{});
}

template <class Real> ChipKernel<Real> chip_kernel(SradForm form, int columns) {
    return with_variant<Real>(form, columns, [](auto chosen, auto count) -> ChipKernel<Real> {
        return diffuse_on_chip<chosen(), count(), Real>;
    });
}

void check_srad_cuda(const SradParams& params) {
    constexpr Index largest = 1 << 28; // of what kernels count in 32 bits
    check_srad(params);
    require(params.height <= largest / params.width, "srad: an image has more than 2^28 pixels");
    require(params.images <= largest, "srad: more than 2^28 images");
    require(params.scales <= largest / params.iterations, "srad: more than 2^28 iterations");
}

} // namespace

template <class Real> Index srad_cuda_workspace(const SradParams& params, int device) {
    check_srad_cuda(params);
    if (params.images == 0) {
        return 0;
    }
    const DeviceGuard guard(device);
    const int columns = widest_columns<Real>(params);
    const auto kernel = chip_kernel<Real>(params.form, columns);
    return plan_on_chip<Real>(params, kernel, columns, device, nullptr)
               ? 0
               : SradWorkspace<Real>(params, nullptr).bytes;
}

template <class Real>
void srad_cuda(const SradParams& params, const SradArrays<Real>& arrays, void* workspace,
               int device, void* stream) {
    check_srad_cuda(params);
    if (params.images == 0) {
        return;
    }
    require(aligned(arrays.output), "srad: the output is not aligned to 16 bytes");
    const DeviceGuard guard(device);
    const auto queue = static_cast<cudaStream_t>(stream);
    const int columns = widest_columns<Real>(params);
    const auto kernel = chip_kernel<Real>(params.form, columns);
    if (const auto plan = plan_on_chip<Real>(params, kernel, columns, device, queue)) {
        launch("srad diffuse_on_chip", kernel, plan->shape, params, arrays, plan->strip_rows);
        return;
    }
    require(workspace != nullptr, "srad: no workspace");
    const SradWorkspace<Real> parts(params, workspace);
    const bool vectors = aligned(arrays.images) || arrays.ranges != nullptr; // those are copied
    with_variant<Real>(params.form, vectors ? columns : 1, [&](auto form, auto count) {
        diffuse_in_memory<form(), count(), Real>(params, arrays, parts, device, queue);
    });
}

template Index srad_cuda_workspace<float>(const SradParams&, int);
template Index srad_cuda_workspace<double>(const SradParams&, int);
template void srad_cuda(const SradParams&, const SradArrays<float>&, void*, int, void*);
template void srad_cuda(const SradParams&, const SradArrays<double>&, void*, int, void*);

} // namespace busaug
