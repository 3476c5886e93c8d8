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
};

// Throws std::runtime_error naming the kernel where CUDA refuses the launch.
template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), const LaunchShape& shape,
            Arguments... arguments) {
    kernel<<<shape.grid, shape.block, shape.shared_bytes, shape.stream>>>(arguments...);
    check_launch(name);
}

} // namespace busaug
