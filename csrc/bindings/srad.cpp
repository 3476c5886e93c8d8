#include "bindings.hpp"
#include "busaug/api.hpp"

namespace busaug::bindings {
namespace {

SradParams srad_params(const std::array<Index, 3>& shape, Index scales, Index iterations,
                       double time_step, double q0, double decay, int form, Index correction) {
    const SradParams params{shape[0],  shape[1],   shape[2],
                            scales,    iterations, time_step,
                            q0,        decay,      static_cast<SradForm>(form),
                            correction};
    check_srad(params);
    return params;
}

struct Addresses {
    Address images, regions, ranges, output;
};

template <class Real> SradArrays<Real> srad_arrays(const SradParams& params, const Addresses& at) {
    require(params.images == 0 || (at.images != 0 && at.output != 0 && at.images != at.output),
            "srad: null or equal pointers");
    return {pointer<const Real>(at.images), pointer<const Index>(at.regions),
            pointer<const Real>(at.ranges), pointer<Real>(at.output)};
}

void srad_cpu(const SradParams& params, const std::string& dtype, Address images, Address regions,
              Address ranges, Address output, int threads, const std::string& simd) {
    with_dtype(dtype, [&](auto real) {
        const auto arrays = srad_arrays<decltype(real)>(params, {images, regions, ranges, output});
        const py::gil_scoped_release unlocked;
        ::busaug::srad_cpu(params, arrays, threads, simd);
    });
}

void quiet_regions_cpu(const std::array<Index, 3>& shape, const std::string& dtype, Address images,
                       Address ranges, Address regions, int threads, const std::string& simd) {
    require(shape[0] == 0 || (images != 0 && regions != 0), "quiet_regions: null pointers");
    with_dtype(dtype, [&](auto real) {
        using Real = decltype(real);
        const QuietRegions<Real> task{shape[0],
                                      shape[1],
                                      shape[2],
                                      pointer<const Real>(images),
                                      pointer<const Real>(ranges),
                                      pointer<Index>(regions)};
        const py::gil_scoped_release unlocked;
        ::busaug::quiet_regions_cpu(task, threads, simd);
    });
}

void elementary_cpu(const std::string& function, Index count, const std::string& dtype,
                    Address values, Address output, const std::string& simd) {
    require(function == "exp" || function == "log", "elementary: neither exp nor log");
    require(count == 0 || (count > 0 && values != 0 && output != 0), "elementary: null pointers");
    with_dtype(dtype, [&](auto real) {
        using Real = decltype(real);
        ::busaug::elementary_cpu(function == "exp" ? Elementary::exponential
                                                   : Elementary::logarithm,
                                 count, pointer<const Real>(values), pointer<Real>(output), simd);
    });
}

#if defined(BUSAUG_WITH_CUDA)

Index srad_cuda_workspace(const SradParams& params, const std::string& dtype, int device) {
    return with_dtype(dtype, [&](auto real) {
        const py::gil_scoped_release unlocked;
        return ::busaug::srad_cuda_workspace<decltype(real)>(params, device);
    });
}

void srad_cuda(const SradParams& params, const std::string& dtype, Address images, Address regions,
               Address ranges, Address output, Address workspace, int device, Address stream) {
    with_dtype(dtype, [&](auto real) {
        const auto arrays = srad_arrays<decltype(real)>(params, {images, regions, ranges, output});
        const py::gil_scoped_release unlocked;
        ::busaug::srad_cuda(params, arrays, pointer<void>(workspace), device,
                            pointer<void>(stream));
    });
}

#endif

} // namespace

void bind_srad(py::module_& module) {
    py::class_<SradParams>(module, "SradParams")
        .def(py::init(&srad_params), py::kw_only(), "shape"_a, "scales"_a, "iterations"_a,
             "time_step"_a, "q0"_a, "decay"_a, "form"_a, "correction"_a);
    module.def("srad_cpu", &srad_cpu, py::kw_only(), "params"_a, "dtype"_a, number("images"),
               number("regions"), number("ranges"), number("output"), "threads"_a, "simd"_a);
    module.def("quiet_regions_cpu", &quiet_regions_cpu, py::kw_only(), "shape"_a, "dtype"_a,
               number("images"), number("ranges"), number("regions"), "threads"_a, "simd"_a);
    module.def("elementary_cpu", &elementary_cpu, py::kw_only(), "function"_a, "count"_a, "dtype"_a,
               number("values"), number("output"), "simd"_a);
#if defined(BUSAUG_WITH_CUDA)
    module.def("srad_cuda_workspace", &srad_cuda_workspace, py::kw_only(), "params"_a, "dtype"_a,
               "device"_a);
    module.def("srad_cuda", &srad_cuda, py::kw_only(), "params"_a, "dtype"_a, number("images"),
               number("regions"), number("ranges"), number("output"), number("workspace"),
               "device"_a, number("stream"));
#endif
}

} // namespace busaug::bindings
