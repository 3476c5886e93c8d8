// What the kernels ask of the device that they are about to run on.
#pragma once

#include "launch.hpp"

namespace busaug {

inline int device_attribute(cudaDeviceAttr attribute, int device) {
    int value = 0;
    check_cuda(cudaDeviceGetAttribute(&value, attribute, device), "cudaDeviceGetAttribute");
    return value;
}

// Facts of one device, cheap enough to be asked for at every launch.
struct DeviceFacts {
    explicit DeviceFacts(int device)
        : multiprocessors(device_attribute(cudaDevAttrMultiProcessorCount, device)),
          shared_bytes_a_block(static_cast<std::size_t>(
              device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin, device))),
          clusters(device_attribute(cudaDevAttrClusterLaunch, device) != 0) {}

    int multiprocessors;
    std::size_t shared_bytes_a_block;
    bool clusters;
};

// Whether the device can hold a cluster of that shape, and the code that it would run was compiled
// for clusters: a device may run code made for an older architecture.
template <class Kernel>
bool cluster_fits(const char* name, Kernel* kernel, const LaunchShape& shape) {
    constexpr int first_with_clusters = 90;
    cudaFuncAttributes compiled{};
    check_cuda(cudaFuncGetAttributes(&compiled, kernel), name);
    if (compiled.ptxVersion < first_with_clusters) {
        return false;
    }
    const LaunchConfig config(name, kernel, shape);
    int resident = 0;
    check_cuda(cudaOccupancyMaxActiveClusters(&resident, kernel, config.get()), name);
    return resident > 0;
}

} // namespace busaug
