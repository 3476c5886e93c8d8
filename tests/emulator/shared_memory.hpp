// The __shared__ variables of blocks that take turns.
//
// __shared__ is thread_local, so that those of a program lie together in its thread's TLS block,
// where they can be filled, saved and restored as a whole. Dynamic shared memory is the array that
// csrc/cuda/block.hpp declares.
#pragma once

#include <cstddef>
#include <vector>

namespace emulator {

class SharedMemory {
  public:
    // With so much of it dynamic. All bytes are set: NaN as a float, -1 as an integer.
    explicit SharedMemory(std::size_t dynamic_bytes);

    void put_in_place();
    void take_away();
    // Away for good: AddressSanitizer tells of whoever looks into it now.
    void drop();

    // Where something in the dynamic memory in place lies in this one, which is away.
    void* counterpart(void* in_place);

  private:
    template <class Work> void for_parts(const Work& work);

    std::vector<unsigned char> dynamic_, others_;
};

} // namespace emulator
