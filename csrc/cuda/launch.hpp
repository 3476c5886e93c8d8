// The one way to start a kernel: an explicit stream, and the launch's own result checked.
#pragma once

#include "busaug/status.hpp"

#include <cuda_runtime.h>

#include <cstddef>

namespace busaug {

struct LaunchShape {
    dim3 grid, block;
    std::size_t shared_bytes;
    cudaStream_t stream;
    unsigned cluster = 1; // blocks that share a thread-block cluster, along x
};

// A launch as the runtime takes it. Not to be copied: it points into itself.
class LaunchConfig {
  public:
    template <class Kernel>
    LaunchConfig(const char* name, Kernel* kernel, const LaunchShape& shape) {
        constexpr std::size_t granted_unasked = 48 * 1024;
        if (shape.shared_bytes > granted_unasked) {
            check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                            static_cast<int>(shape.shared_bytes)),
                       name);
        }
        cluster_.id = cudaLaunchAttributeClusterDimension;
        cluster_.val.clusterDim.x = shape.cluster;
        cluster_.val.clusterDim.y = 1;
        cluster_.val.clusterDim.z = 1;
        config_.gridDim = shape.grid;
        config_.blockDim = shape.block;
        config_.dynamicSmemBytes = shape.shared_bytes;
        config_.stream = shape.stream;
        config_.attrs = shape.cluster > 1 ? &cluster_ : nullptr;
        config_.numAttrs = shape.cluster > 1 ? 1 : 0;
    }
    LaunchConfig(const LaunchConfig&) = delete;
    LaunchConfig& operator=(const LaunchConfig&) = delete;

    const cudaLaunchConfig_t* get() const { return &config_; }

  private:
    cudaLaunchAttribute cluster_{};
    cudaLaunchConfig_t config_{};
};

// Throws std::runtime_error naming the kernel where CUDA refuses the launch.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape,
            Arguments... arguments) {
    const LaunchConfig config(name, kernel, shape);
    check_cuda(cudaLaunchKernelEx(config.get(), kernel, arguments...), name);
}

} // namespace busaug
