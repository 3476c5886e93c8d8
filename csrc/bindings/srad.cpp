#include "bindings.hpp"
#include "busaug/api.hpp"

namespace busaug::bindings {
namespace {

SradParams srad_params(const std::array<Index, 3>& shape, Index scales, Index iterations,
                       double time_step, double q0, double decay, int form) {
    const SradParams params{shape[0], shape[1],   shape[2],
                            scales,   iterations, time_step,
                            q0,       decay,      static_cast<SradForm>(form)};
    check_srad(params);
    return params;
}

void require_pointers(Address input, Address output, const SradParams& params) {
    require(params.images == 0 || (input != 0 && output != 0 && input != output),
            "null or equal pointers");
}

void srad_cpu(Address images, Address regions, Address output, const std::string& dtype,
              const std::array<Index, 3>& shape, Index scales, Index iterations, double time_step,
              double q0, double decay, int form, int threads, const std::string& simd) {
    const auto params = srad_params(shape, scales, iterations, time_step, q0, decay, form);
    require_pointers(images, output, params);
    with_dtype(dtype, [&](auto real) {
        using Real = decltype(real);
        const py::gil_scoped_release unlocked;
        ::busaug::srad_cpu(params, pointer<const Real>(images), pointer<const Index>(regions),
                           pointer<Real>(output), threads, simd);
    });
}

#if defined(BUSAUG_WITH_CUDA)

Index srad_cuda_workspace(const std::string& dtype, const std::array<Index, 3>& shape) {
    const auto params = srad_params(shape, 1, 1, 1.0, 0.0, 0.0, 1);
    return with_dtype(
        dtype, [&](auto real) { return ::busaug::srad_cuda_workspace<decltype(real)>(params); });
}

void srad_cuda(Address images, Address regions, Address output, Address workspace,
               const std::string& dtype, const std::array<Index, 3>& shape, Index scales,
               Index iterations, double time_step, double q0, double decay, int form, int device,
               Address stream) {
    const auto params = srad_params(shape, scales, iterations, time_step, q0, decay, form);
    require_pointers(images, output, params);
    with_dtype(dtype, [&](auto real) {
        using Real = decltype(real);
        const py::gil_scoped_release unlocked;
        ::busaug::srad_cuda(params, pointer<const Real>(images), pointer<const Index>(regions),
                            pointer<Real>(output), pointer<void>(workspace), device,
                            pointer<void>(stream));
    });
}

#endif

} // namespace

void bind_srad(py::module_& module) {
    module.def("srad_cpu", &srad_cpu, py::kw_only(), number("images"), number("regions"),
               number("output"), "dtype"_a, "shape"_a, "scales"_a, "iterations"_a, "time_step"_a,
               "q0"_a, "decay"_a, "form"_a, "threads"_a, "simd"_a);
#if defined(BUSAUG_WITH_CUDA)
    module.def("srad_cuda_workspace", &srad_cuda_workspace, py::kw_only(), "dtype"_a, "shape"_a);
    module.def("srad_cuda", &srad_cuda, py::kw_only(), number("images"), number("regions"),
               number("output"), number("workspace"), "dtype"_a, "shape"_a, "scales"_a,
               "iterations"_a, "time_step"_a, "q0"_a, "decay"_a, "form"_a, "device"_a,
               number("stream"));
#endif
}

} // namespace busaug::bindings
