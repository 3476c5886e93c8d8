// As much of the CUDA runtime as csrc/cuda uses, played by emulator.hpp.
#pragma once

#include "emulator.hpp"

#include <math.h> // its functions in the global namespace, as nvcc has them

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

// ---- language

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __align__(bytes) __attribute__((aligned(bytes)))
#define __launch_bounds__(...)
#define __shared__ thread_local

struct dim3 : emulator::Shape {
    dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : Shape{x_, y_, z_} {}
};

// Those of the running thread.
extern emulator::Shape threadIdx, blockIdx, blockDim, gridDim;

#define __syncthreads() ::emulator::wait_for_block(__builtin_FILE(), __builtin_LINE())
#define __syncwarp() ::emulator::wait_for_warp(0xffffffffU, __builtin_FILE(), __builtin_LINE())

inline void __threadfence() {} // one thread runs at a time: what it wrote is there

template <class T> T __ldcg(const T* address) { return *address; }

inline unsigned atomicAdd(unsigned* address, unsigned value) {
    return std::exchange(*address, *address + value);
}

namespace emulator {
template <class T>
T shuffled(unsigned lanes, const T& value, unsigned source, const char* file, int line) {
    static_assert(sizeof(T) <= largest_exchange);
    T taken;
    exchange(lanes, &value, &taken, sizeof(T), source, file, line);
    return taken;
}
inline unsigned lane() {
    return (threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z)) % 32;
}
} // namespace emulator

template <class T>
T __shfl_sync(unsigned lanes, T value, int source, int width = 32,
              const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    const auto size = static_cast<unsigned>(width);
    const unsigned first = emulator::lane() / size * size;
    return emulator::shuffled(lanes, value, first + static_cast<unsigned>(source) % size, file,
                              line);
}
template <class T>
T __shfl_down_sync(unsigned lanes, T value, unsigned distance, int width = 32,
                   const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    const auto size = static_cast<unsigned>(width);
    const unsigned lane = emulator::lane();
    const bool inside = lane % size + distance < size;
    return emulator::shuffled(lanes, value, inside ? lane + distance : lane, file, line);
}
template <class T>
T __shfl_xor_sync(unsigned lanes, T value, int mask, int width = 32,
                  const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    const auto size = static_cast<unsigned>(width);
    const unsigned lane = emulator::lane();
    const unsigned other = lane ^ static_cast<unsigned>(mask);
    return emulator::shuffled(lanes, value, other / size == lane / size ? other : lane, file, line);
}

// ---- runtime

enum cudaError_t {
    cudaSuccess = 0,
    cudaErrorInvalidValue = 1,
    cudaErrorInvalidConfiguration = 9,
    cudaErrorInvalidDevice = 101,
    cudaErrorInvalidResourceHandle = 400,
    cudaErrorInvalidClusterSize = 912,
};
enum cudaDeviceAttr {
    cudaDevAttrMultiProcessorCount = 16,
    cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
    cudaDevAttrClusterLaunch = 120,
};
enum cudaFuncAttribute { cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };
enum cudaLaunchAttributeID { cudaLaunchAttributeClusterDimension = 4 };

using cudaStream_t = struct CUstream_st*;

struct cudaFuncAttributes {
    int ptxVersion = 0;
};
struct cudaLaunchAttribute {
    cudaLaunchAttributeID id;
    struct {
        emulator::Shape clusterDim;
    } val;
};
struct cudaLaunchConfig_t {
    dim3 gridDim, blockDim;
    std::size_t dynamicSmemBytes = 0;
    cudaStream_t stream = nullptr;
    cudaLaunchAttribute* attrs = nullptr;
    unsigned numAttrs = 0;
};

const char* cudaGetErrorString(cudaError_t error);
cudaError_t cudaGetLastError();
cudaError_t cudaGetDevice(int* device);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device);
cudaError_t cudaMemsetAsync(void* memory, int value, std::size_t bytes, cudaStream_t stream);

namespace emulator {
cudaError_t allow_shared(const void* kernel, cudaFuncAttribute attribute, int bytes);
cudaError_t resident_clusters(int* count, const cudaLaunchConfig_t& config);
cudaError_t check(const void* kernel, const cudaLaunchConfig_t& config);
Launch launch_of(const cudaLaunchConfig_t& config);
} // namespace emulator

template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, cudaFuncAttribute attribute, int value) {
    return emulator::allow_shared(reinterpret_cast<const void*>(kernel), attribute, value);
}
template <class Kernel> cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* found, Kernel*) {
    found->ptxVersion = emulator::settings().architecture;
    return cudaSuccess;
}
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveClusters(int* count, Kernel*, const cudaLaunchConfig_t* config) {
    return emulator::resident_clusters(count, *config);
}
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
    const cudaError_t status = emulator::check(reinterpret_cast<const void*>(kernel), *config);
    if (status == cudaSuccess) {
        // every thread gets parameters of its own, as on a device
        emulator::run(emulator::launch_of(*config),
                      [&] { kernel(static_cast<Parameters>(arguments)...); });
    }
    return status;
}
