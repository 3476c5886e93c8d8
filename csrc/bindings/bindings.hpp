// What the bindings of every op need.
#pragma once

#include "busaug/macros.hpp"
#include "busaug/status.hpp"

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <array>
#include <cstdint>
#include <string>

namespace busaug::bindings {

namespace py = pybind11;
using py::literals::operator""_a;

// What a tensor's data_ptr() or a stream's handle is in Python.
using Address = std::uintptr_t;

template <class T> T* pointer(Address address) {
    return reinterpret_cast<T*>(address); // NOLINT: an address is all that Python can hand over
}

// An argument that takes an integer and nothing that converts to one, a tensor for instance.
inline py::arg number(const char* name) {
    py::arg argument(name);
    argument.noconvert();
    return argument;
}

// Calls work(Real{}) with the type that the name stands for.
template <class Work> auto with_dtype(const std::string& dtype, Work&& work) {
    if (dtype == "float32") {
        return work(float{});
    }
    if (dtype == "float64") {
        return work(double{});
    }
    reject("dtype '" + dtype + "' is neither float32 nor float64");
}

void bind_convolution(py::module_& module);
void bind_lrp(py::module_& module);
void bind_mmd(py::module_& module);
void bind_srad(py::module_& module);
#if defined(BUSAUG_WITH_CUDA)
void bind_mmd_cuda(py::module_& module);
#endif

} // namespace busaug::bindings
