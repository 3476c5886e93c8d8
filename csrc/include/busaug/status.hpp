// Errors of the native module: exceptions here, Python exceptions at the binding, never an exit.
#pragma once

#include <stdexcept>
#include <string>

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#endif

namespace busaug {

// Extents, options or pointers that no kernel can work on (a fault of the caller): ValueError.
[[noreturn]] inline void reject(const std::string& what) { throw std::invalid_argument(what); }

inline void require(bool condition, const char* what) {
    if (!condition) {
        reject(what);
    }
}

#if defined(__CUDACC__)

// A failed CUDA call: RuntimeError. What others check later is not left to find it.
inline void check_cuda(cudaError_t status, const char* what) {
    if (status != cudaSuccess) {
        static_cast<void>(cudaGetLastError());
        throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
    }
}

// Makes a device current and gives the former one back at the end of the scope.
class DeviceGuard {
  public:
    explicit DeviceGuard(int device) {
        check_cuda(cudaGetDevice(&former_), "cudaGetDevice");
        if (device != former_) {
            check_cuda(cudaSetDevice(device), "cudaSetDevice");
            changed_ = true;
        }
    }
    ~DeviceGuard() {
        if (changed_) {
            static_cast<void>(cudaSetDevice(former_));
        }
    }
    DeviceGuard(const DeviceGuard&) = delete;
    DeviceGuard& operator=(const DeviceGuard&) = delete;

  private:
    int former_ = 0;
    bool changed_ = false;
};

#endif

} // namespace busaug
