// The Python module: unpack, release the GIL, translate errors. Checks of tensors are busaug.ops'.
#include "busaug/api.hpp"
#include "busaug/status.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <iterator>
#include <sstream>

namespace py = pybind11;

namespace {

using busaug::Index;
using Address = std::uintptr_t;

template <class T> T* pointer(Address address) {
    return reinterpret_cast<T*>(address); // NOLINT: an address is all that Python can hand over
}

busaug::SradParams srad_params(const std::array<Index, 3>& shape, Index scales, Index iterations,
                               double time_step, double q0, double decay, int form) {
    const busaug::SradParams params{shape[0], shape[1],   shape[2],
                                    scales,   iterations, time_step,
                                    q0,       decay,      static_cast<busaug::SradForm>(form)};
    busaug::check_srad(params);
    return params;
}

// Calls work(Real{}) with the type that the name stands for.
template <class Work> auto with_dtype(const std::string& dtype, Work&& work) {
    if (dtype == "float32") {
        return work(float{});
    }
    if (dtype == "float64") {
        return work(double{});
    }
    busaug::reject("dtype '" + dtype + "' is neither float32 nor float64");
}

void require_pointers(Address input, Address output, const busaug::SradParams& params) {
    busaug::require(params.images == 0 || (input != 0 && output != 0 && input != output),
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
        busaug::srad_cpu(params, pointer<const Real>(images), pointer<const Index>(regions),
                         pointer<Real>(output), threads, simd);
    });
}

std::vector<std::string> words(const std::string& text) {
    std::istringstream stream(text);
    return {std::istream_iterator<std::string>(stream), std::istream_iterator<std::string>()};
}

py::dict build_info() {
    py::dict info;
    info["cpu"] = true;
    info["compiler"] = BUSAUG_COMPILER;
    info["simd"] = busaug::simd_levels();
    info["simd_in_use"] = busaug::simd_in_use();
    info["cuda_architectures"] = words(BUSAUG_CUDA_ARCHITECTURES);
    info["cuda_compiler"] = BUSAUG_CUDA_COMPILER;
    return info;
}

#if defined(BUSAUG_WITH_CUDA)

Index srad_cuda_workspace(const std::string& dtype, const std::array<Index, 3>& shape) {
    const auto params = srad_params(shape, 1, 1, 1.0, 0.0, 0.0, 1);
    return with_dtype(
        dtype, [&](auto real) { return busaug::srad_cuda_workspace<decltype(real)>(params); });
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
        busaug::srad_cuda(params, pointer<const Real>(images), pointer<const Index>(regions),
                          pointer<Real>(output), pointer<void>(workspace), device,
                          pointer<void>(stream));
    });
}

#endif

} // namespace

PYBIND11_MODULE(_native, module) {
    using py::literals::operator""_a;
    const auto number = [](const char* name) { return py::arg(name).noconvert(); };

    module.doc() = "Kernels of busaug on raw pointers; call them through busaug.ops.";
    module.def("build_info", &build_info);
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
