// The Python module: unpack, release the GIL, translate errors. Checks of tensors are busaug.ops'.
#include "bindings.hpp"
#include "simd.hpp"

#include <iterator>
#include <sstream>

namespace busaug::bindings {
namespace {

std::vector<std::string> words(const std::string& text) {
    std::istringstream stream(text);
    return {std::istream_iterator<std::string>(stream), std::istream_iterator<std::string>()};
}

py::dict build_info() {
    py::dict info;
    info["cpu"] = true;
    info["compiler"] = BUSAUG_COMPILER;
    info["simd"] = simd_levels();
    info["simd_in_use"] = simd_in_use();
    info["cuda_architectures"] = words(BUSAUG_CUDA_ARCHITECTURES);
    info["cuda_compiler"] = BUSAUG_CUDA_COMPILER;
    return info;
}

} // namespace
} // namespace busaug::bindings

PYBIND11_MODULE(_native, module) {
    namespace bindings = busaug::bindings;
    module.doc() = "Kernels of busaug on raw pointers; call them through busaug.ops.";
    module.def("build_info", &bindings::build_info);
    bindings::bind_convolution(module);
    bindings::bind_lrp(module);
    bindings::bind_mmd(module);
    bindings::bind_srad(module);
#if defined(BUSAUG_WITH_CUDA)
    bindings::bind_mmd_cuda(module);
#endif
}
