// The emulated runtime: devices, the checks of a launch, asynchronous memory that is not.
#include "runtime.hpp"

#include "cuda_runtime.h"

#include <algorithm>

#include <cstring>
#include <map>

namespace {

int current_device = 0;
cudaError_t last_error = cudaSuccess;
std::map<const void*, int> allowed_shared;

constexpr std::size_t granted_unasked = 48 * 1024;

cudaError_t remember(cudaError_t error) {
    last_error = error != cudaSuccess ? error : last_error;
    return error;
}

bool on_the_right_queue(cudaStream_t stream) {
    return current_device == emulator::device_asked_for &&
           static_cast<void*>(stream) == emulator::stream_asked_for();
}

} // namespace

namespace emulator {

void* stream_asked_for() {
    static char stream;
    return &stream;
}

int device_in_use() { return current_device; }

cudaError_t allow_shared(const void* kernel, cudaFuncAttribute attribute, int bytes) {
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize ||
        static_cast<std::size_t>(bytes) > settings().shared_bytes) {
        return remember(cudaErrorInvalidValue);
    }
    allowed_shared[kernel] = bytes;
    return cudaSuccess;
}

Launch launch_of(const cudaLaunchConfig_t& config) {
    return {config.gridDim, config.blockDim, config.dynamicSmemBytes,
            config.numAttrs == 0 ? 1 : config.attrs[0].val.clusterDim.count()};
}

cudaError_t resident_clusters(int* count, const cudaLaunchConfig_t& config) {
    const Launch launch = launch_of(config);
    constexpr std::size_t reserved = 1024; // a block, by the system
    const std::size_t blocks_each =
        (settings().shared_bytes + reserved) / (launch.shared_bytes + reserved);
    *count = static_cast<int>(blocks_each) * settings().multiprocessors /
             static_cast<int>(launch.cluster);
    return cudaSuccess;
}

cudaError_t check(const void* kernel, const cudaLaunchConfig_t& config) {
    const Launch launch = launch_of(config);
    const Shape& grid = launch.grid;
    const Shape& block = launch.block;
    if (!on_the_right_queue(config.stream)) {
        fail("a kernel is launched on another device or stream than asked for");
    }
    const bool fits = grid.x > 0 && grid.x <= 2147483647U && grid.y > 0 && grid.y <= 65535 &&
                      grid.z > 0 && grid.z <= 65535 && block.count() > 0 && block.count() <= 1024;
    if (!fits) {
        return remember(cudaErrorInvalidConfiguration);
    }
    const auto allowed = allowed_shared.find(kernel);
    const std::size_t most = allowed == allowed_shared.end()
                                 ? granted_unasked
                                 : std::max<std::size_t>(granted_unasked, allowed->second);
    if (launch.shared_bytes > most || launch.shared_bytes > settings().shared_bytes) {
        return remember(cudaErrorInvalidValue);
    }
    if (launch.cluster > 1 &&
        (settings().architecture < 90 || launch.cluster > 8 || grid.x % launch.cluster != 0)) {
        return remember(cudaErrorInvalidClusterSize);
    }
    return cudaSuccess;
}

} // namespace emulator

const char* cudaGetErrorString(cudaError_t error) {
    switch (error) {
    case cudaSuccess:
        return "no error";
    case cudaErrorInvalidValue:
        return "invalid argument";
    case cudaErrorInvalidConfiguration:
        return "invalid configuration argument";
    case cudaErrorInvalidDevice:
        return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle:
        return "invalid resource handle";
    case cudaErrorInvalidClusterSize:
        return "invalid cluster size";
    }
    return "unknown";
}

cudaError_t cudaGetLastError() {
    const cudaError_t error = last_error;
    last_error = cudaSuccess;
    return error;
}

cudaError_t cudaGetDevice(int* device) {
    *device = current_device;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
    if (device < 0 || device > 1) {
        return remember(cudaErrorInvalidDevice);
    }
    current_device = device;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
    const emulator::Settings& settings = emulator::settings();
    if (device != emulator::device_asked_for) {
        return remember(cudaErrorInvalidDevice);
    }
    switch (attribute) {
    case cudaDevAttrMultiProcessorCount:
        *value = settings.multiprocessors;
        return cudaSuccess;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
        *value = static_cast<int>(settings.shared_bytes);
        return cudaSuccess;
    case cudaDevAttrClusterLaunch:
        *value = settings.architecture >= 90;
        return cudaSuccess;
    }
    return remember(cudaErrorInvalidValue);
}

cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream) {
    if (!on_the_right_queue(stream)) {
        emulator::fail("memory is set on another device or stream than asked for");
    }
    std::memset(memory, value, bytes);
    return cudaSuccess;
}
