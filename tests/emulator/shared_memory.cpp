#include "shared_memory.hpp"

#include "emulator.hpp"

#include <link.h>
#include <sanitizer/asan_interface.h>

#include <cstring>

namespace busaug {
constexpr std::size_t most_shared_bytes = 228 * 1024;
alignas(128) thread_local unsigned char dynamic_shared[most_shared_bytes];
} // namespace busaug

namespace emulator {
namespace {

constexpr int poison = 0xff;

struct Bytes {
    unsigned char* begin;
    std::size_t count;
};

// This program's thread-local variables: there are no others than the shared ones.
Bytes find_shared() {
    busaug::dynamic_shared[0] = 0; // so that the TLS block is there
    Bytes found{nullptr, 0};
    dl_iterate_phdr(
        [](dl_phdr_info* module, std::size_t, void* result) {
            for (int i = 0; i < module->dlpi_phnum; ++i) {
                if (module->dlpi_phdr[i].p_type == PT_TLS) {
                    *static_cast<Bytes*>(result) = {
                        static_cast<unsigned char*>(module->dlpi_tls_data),
                        module->dlpi_phdr[i].p_memsz};
                }
            }
            return 1; // the program itself comes first
        },
        &found);
    return found;
}

const Bytes& all_shared() {
    static const Bytes all = find_shared();
    return all;
}

} // namespace

SharedMemory::SharedMemory(std::size_t dynamic_bytes)
    : dynamic_(dynamic_bytes, poison),
      others_(all_shared().count - busaug::most_shared_bytes, poison) {}

// Calls work(in place, here, count) for each part.
template <class Work> void SharedMemory::for_parts(const Work& work) {
    unsigned char* const dynamic = busaug::dynamic_shared;
    const auto before = static_cast<std::size_t>(dynamic - all_shared().begin);
    work(dynamic, dynamic_.data(), dynamic_.size());
    work(all_shared().begin, others_.data(), before);
    work(dynamic + busaug::most_shared_bytes, others_.data() + before, others_.size() - before);
}

void SharedMemory::put_in_place() {
    for_parts([](unsigned char* to, const unsigned char* from, std::size_t count) {
        std::memcpy(to, from, count);
    });
    __asan_poison_memory_region(busaug::dynamic_shared + dynamic_.size(),
                                busaug::most_shared_bytes - dynamic_.size());
}

void SharedMemory::take_away() {
    __asan_unpoison_memory_region(busaug::dynamic_shared, busaug::most_shared_bytes);
    for_parts([](const unsigned char* from, unsigned char* to, std::size_t count) {
        std::memcpy(to, from, count);
    });
}

void SharedMemory::drop() {
    std::vector<unsigned char>().swap(dynamic_);
    std::vector<unsigned char>().swap(others_);
}

void* SharedMemory::counterpart(void* in_place) {
    const auto offset =
        static_cast<std::size_t>(static_cast<unsigned char*>(in_place) - busaug::dynamic_shared);
    if (offset >= dynamic_.size()) {
        fail("an address outside dynamic shared memory is sought in another block");
    }
    return dynamic_.data() + offset;
}

} // namespace emulator
