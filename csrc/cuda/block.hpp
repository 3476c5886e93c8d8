// What a kernel sees of its neighbours: lanes of a warp, shared memory, blocks of a cluster.
#pragma once

#include <cuda_runtime.h>

#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
#include <cooperative_groups.h>
#endif

namespace busaug {

constexpr int warp_size = 32;
constexpr unsigned all_lanes = 0xffffffffU;

// Threads of a block taken in groups of `size`: which group this one is in, and its place there.
__device__ inline int group_rank(unsigned size) { return static_cast<int>(threadIdx.x / size); }
__device__ inline int lane_rank(unsigned size) { return static_cast<int>(threadIdx.x % size); }

// Shared memory of the size that the launch asked for, aligned for vectors of 16 bytes.
__device__ inline unsigned char* dynamic_shared_memory() {
    extern __shared__ __align__(16) unsigned char dynamic_shared[];
    return dynamic_shared;
}

// The blocks of a cluster: each can write to and read from the others' dynamic shared memory.
// Before compute capability 9.0 every block is a cluster of its own.
class Cluster {
  public:
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
    __device__ int rank() const { return static_cast<int>(group().block_rank()); }
    __device__ int size() const { return static_cast<int>(group().num_blocks()); }
    // Every thread of every block is here, and sees what the others wrote before.
    __device__ void wait() const { group().sync(); }
    // Where `mine`, in this block's dynamic shared memory, lies in that of the block `rank`.
    template <class T> __device__ T* in(int rank, T* mine) const {
        return group().map_shared_rank(mine, static_cast<unsigned>(rank));
    }

  private:
    __device__ static cooperative_groups::cluster_group group() {
        return cooperative_groups::this_cluster();
    }
#else
    __device__ int rank() const { return 0; }
    __device__ int size() const { return 1; }
    __device__ void wait() const { __syncthreads(); }
    template <class T> __device__ T* in(int, T* mine) const { return mine; }
#endif
};

// Whether this block is the last of `count` to come here, in which case it sees what the others
// wrote to global memory before. `ticket` is zero at first and again after the last.
__device__ inline bool last_to_arrive(unsigned* ticket, unsigned count) {
    __shared__ bool last;
    __threadfence();
    __syncthreads();
    if (threadIdx.x == 0) {
        last = atomicAdd(ticket, 1U) == count - 1;
        if (last) {
            *ticket = 0;
        }
    }
    __syncthreads();
    __threadfence();
    return last;
}

// Sum over a block's threads, of whole warps, in one order; thread 0 has it. All threads call it
// and meet in it; between two calls they meet once more.
__device__ inline double block_sum(double value) {
    __shared__ double sums[warp_size];
    for (int distance = warp_size / 2; distance > 0; distance /= 2) {
        value += __shfl_down_sync(all_lanes, value, static_cast<unsigned>(distance));
    }
    if (lane_rank(warp_size) == 0) {
        sums[group_rank(warp_size)] = value;
    }
    __syncthreads();
    double total = 0.0;
    if (threadIdx.x == 0) {
        for (unsigned warp = 0; warp < blockDim.x / warp_size; ++warp) {
            total += sums[warp];
        }
    }
    return total;
}

// Some neighbours in memory, moved by one instruction. Their address is a multiple of their size.
template <class T, int count> struct alignas(count * sizeof(T)) Pack {
    T value[count];
};

} // namespace busaug
