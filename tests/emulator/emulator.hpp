// A CUDA device played by the processor, so that tests run the kernels of csrc/cuda as they stand.
//
// This is emulation. It executes indices, tiles, halos, barriers, reductions and the launch code;
// it says nothing about speed, registers or the memory model of a real device.
//
// Every CUDA thread is a fibre that runs until it waits for its warp, block or cluster, or ends.
// The order in which fibres and blocks run is a parameter: without a barrier that it needs, a
// kernel gives another result in one order or another. Shared memory is full of NaN before a block
// starts; its bytes beyond those that the launch asked for are poisoned for AddressSanitizer.
// Device 0 is current, device 1 is asked for, and every launch must name the stream given.
#pragma once

#include <cstddef>
#include <functional>
#include <string>

namespace emulator {

struct Settings {
    int architecture = 90;                 // compute capability, times ten; below 90: no clusters
    int multiprocessors = 4;               //
    std::size_t shared_bytes = 227 * 1024; // that a block can ask for
    std::string order = "forward";         // in which fibres and blocks run; reverse, shuffled
    unsigned seed = 0;                     // of the shuffling
    std::string skipped_file;              // where a barrier stands that is to do nothing
    int skipped_line = 0;                  //
};

struct Shape {
    unsigned x = 1, y = 1, z = 1;
    unsigned count() const { return x * y * z; }
};

struct Launch {
    Shape grid, block;
    std::size_t shared_bytes;
    unsigned cluster;
};

// ---- for the driver

void configure(const Settings& wanted);
const Settings& settings();
// What happened since the last call: a line for every launch, one for every barrier come to.
std::string take_log();

// ---- for the shim of the runtime

void run(const Launch& launch, const std::function<void()>& kernel);

// ---- for a running thread

// Its indices are the variables threadIdx, blockIdx, blockDim and gridDim.
unsigned cluster_rank();
unsigned cluster_size();

void wait_for_block(const char* file, int line);
void wait_for_cluster(const char* file, int line);
void wait_for_warp(unsigned lanes, const char* file, int line);

// Shows this lane's bytes to the warp, waits for it, and takes the bytes of lane `source`.
constexpr std::size_t largest_exchange = 16;
void exchange(unsigned lanes, const void* mine, void* taken, std::size_t bytes, unsigned source,
              const char* file, int line);

// Where an address in this block's dynamic shared memory lies in another block of the cluster.
void* in_block(void* mine, unsigned rank);

// Ends the process: what a kernel did would hang or be undefined on a device.
[[noreturn]] void fail(const std::string& what);

} // namespace emulator
