#include "bindings.hpp"
#include "busaug/api.hpp"

namespace busaug::bindings {
namespace {

FeatureType feature_type(const std::string& dtype) {
    if (dtype == "float32") {
        return FeatureType::float32;
    }
    if (dtype == "float16") {
        return FeatureType::float16;
    }
    if (dtype == "bfloat16") {
        return FeatureType::bfloat16;
    }
    reject("gram_difference: dtype '" + dtype + "' is none of float32, float16, bfloat16");
}

GramTask gram_task(const std::array<Index, 3>& shape, const std::string& dtype,
                   bool channels_innermost) {
    return {shape[0], shape[1], shape[2], feature_type(dtype), channels_innermost};
}

Index gram_difference_cuda_workspace(const GramTask& task) {
    return ::busaug::gram_difference_cuda_workspace(task);
}

void gram_difference_cuda(const GramTask& task, Address features, Address target,
                          Address difference, Address loss, Address workspace, int device,
                          Address stream) {
    require(task.images == 0 || (features != 0 && target != 0 && difference != 0 && loss != 0 &&
                                 workspace != 0 && difference != target),
            "gram_difference: null or equal pointers");
    const GramArrays arrays{pointer<const void>(features), pointer<const float>(target),
                            pointer<float>(difference), pointer<float>(loss)};
    const py::gil_scoped_release unlocked;
    ::busaug::gram_difference_cuda(task, arrays, pointer<void>(workspace), device,
                                   pointer<void>(stream));
}

} // namespace

void bind_mmd_cuda(py::module_& module) {
    py::class_<GramTask>(module, "GramTask")
        .def(py::init(&gram_task), py::kw_only(), "shape"_a, "dtype"_a, "channels_innermost"_a);
    module.def("gram_difference_cuda_workspace", &gram_difference_cuda_workspace, py::kw_only(),
               "task"_a);
    module.def("gram_difference_cuda", &gram_difference_cuda, py::kw_only(), "task"_a,
               number("features"), number("target"), number("difference"), number("loss"),
               number("workspace"), "device"_a, number("stream"));
}

} // namespace busaug::bindings
