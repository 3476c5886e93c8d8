#include "emulator.hpp"

#include <link.h>
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

#if !defined(__x86_64__)
#error "the fibres of the emulator are written for x86-64"
#endif

// Stores the registers that a function must keep on the stack in use, leaves its pointer in *from,
// and goes on where the stack `to` was left.
extern "C" void emulator_switch_stack(void** from, void* to);
asm(R"(
.text
.globl emulator_switch_stack
.type emulator_switch_stack, @function
emulator_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size emulator_switch_stack, .-emulator_switch_stack
)");

emulator::Shape threadIdx, blockIdx, blockDim, gridDim;

namespace busaug {
// The array that csrc/cuda/block.hpp declares. __shared__ is thread_local here, so that all shared
// variables lie together in the one thread's TLS block, where they can be saved and restored.
constexpr std::size_t most_shared_bytes = 228 * 1024;
alignas(128) thread_local unsigned char dynamic_shared[most_shared_bytes];
} // namespace busaug

namespace emulator {
namespace {

constexpr unsigned warp_size = 32;
constexpr std::size_t stack_bytes = 128 * 1024;
constexpr std::size_t last_frames = 4 * 1024; // more than the fibre's first functions take
constexpr int poison = 0xff;                  // NaN as a float, -1 as an integer

enum class State { ready, in_warp, in_block, in_cluster, ended };

// Of a barrier in the source.
struct Site {
    const char* file = "";
    int line = 0;

    bool operator==(const Site& other) const { return line == other.line && file == other.file; }
    bool operator<(const Site& other) const {
        return std::pair(line, file) < std::pair(other.line, other.file);
    }
    std::string name() const {
        const char* slash = std::strrchr(file, '/');
        return slash == nullptr ? file : slash + 1;
    }
    std::string text() const { return name() + ":" + std::to_string(line); }
};

struct Fibre {
    emulator::Shape index; // threadIdx
    State state = State::ready;
    Site site;          // where it waits
    unsigned lanes = 0; // that it waits for in its warp
    unsigned exchanges = 0;
    void* stack_pointer = nullptr;
    void* fake_stack = nullptr; // AddressSanitizer's
};

struct Slot {
    unsigned exchange = ~0U;
    std::array<unsigned char, largest_exchange> bytes{};
};

struct Block {
    emulator::Shape index; // blockIdx
    unsigned rank;         // in its cluster
    std::vector<Block>* cluster;
    std::vector<char*> stacks;
    std::vector<Fibre> fibres;
    std::vector<std::array<Slot, 2 * warp_size>> warps;
    std::vector<unsigned char> shared; // dynamic shared memory while another block runs
    std::vector<unsigned char> others; // likewise the other shared variables

    bool ended() const {
        return std::all_of(fibres.begin(), fibres.end(),
                           [](const Fibre& fibre) { return fibre.state == State::ended; });
    }
};

Settings the_settings;
std::ostringstream launches;
std::set<Site> barriers;
std::mt19937 shuffler;

const Launch* launch = nullptr;
const std::function<void()>* kernel = nullptr;
Block* block = nullptr; // the one that runs
Fibre* fibre = nullptr; // likewise
void* scheduler = nullptr;
const void* scheduler_stack = nullptr;
std::size_t scheduler_stack_bytes = 0;

// A stack that is not in use; kept for the next launches.
std::vector<char*> free_stacks;

char* take_stack() {
    if (free_stacks.empty()) {
        void* memory = mmap(nullptr, stack_bytes, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED) {
            fail("no memory for another stack");
        }
        return static_cast<char*>(memory);
    }
    char* memory = free_stacks.back();
    free_stacks.pop_back();
    // frames that were left for good are at the top
    __asan_unpoison_memory_region(memory + stack_bytes - last_frames, last_frames);
    return memory;
}

// ---- shared memory

// This program's thread-local variables: there are no others than the shared ones.
struct Shared {
    unsigned char* begin = nullptr;
    std::size_t bytes = 0;
};

Shared find_shared() {
    busaug::dynamic_shared[0] = 0; // so that the block exists
    Shared found;
    dl_iterate_phdr(
        [](dl_phdr_info* module, std::size_t, void* result) {
            for (int i = 0; i < module->dlpi_phnum; ++i) {
                if (module->dlpi_phdr[i].p_type == PT_TLS) {
                    *static_cast<Shared*>(result) = {
                        static_cast<unsigned char*>(module->dlpi_tls_data),
                        module->dlpi_phdr[i].p_memsz};
                }
            }
            return 1; // the program itself comes first
        },
        &found);
    return found;
}

void guard_shared() {
    __asan_poison_memory_region(busaug::dynamic_shared + launch->shared_bytes,
                                busaug::most_shared_bytes - launch->shared_bytes);
}
void unguard_shared() {
    __asan_unpoison_memory_region(busaug::dynamic_shared, busaug::most_shared_bytes);
}

// Calls work(live address, saved address, bytes) for each part of a block's shared memory.
template <class Work> void for_shared(Block& which, const Work& work) {
    static const Shared all = find_shared();
    unsigned char* const dynamic = busaug::dynamic_shared;
    unsigned char* const after = dynamic + busaug::most_shared_bytes;
    const auto before = static_cast<std::size_t>(dynamic - all.begin);
    which.others.resize(all.bytes - busaug::most_shared_bytes);
    work(dynamic, which.shared.data(), launch->shared_bytes);
    work(all.begin, which.others.data(), before);
    work(after, which.others.data() + before, which.others.size() - before);
}

// Puts the block's shared memory in place, and away that of the block which ran before.
void enter(Block* which) {
    if (block == which) {
        return;
    }
    if (block != nullptr) {
        unguard_shared();
        for_shared(*block, [](const unsigned char* live, unsigned char* saved, std::size_t bytes) {
            std::memcpy(saved, live, bytes);
        });
        if (block->ended()) { // whoever looks into it now is told by AddressSanitizer
            std::vector<unsigned char>().swap(block->shared);
        }
    }
    block = which;
    if (block != nullptr) {
        for_shared(*block, [](unsigned char* live, const unsigned char* saved, std::size_t bytes) {
            std::memcpy(live, saved, bytes);
        });
        guard_shared();
    }
}

// ---- fibres

void pause(State state, const Site& site) {
    fibre->state = state;
    fibre->site = site;
    __sanitizer_start_switch_fiber(&fibre->fake_stack, scheduler_stack, scheduler_stack_bytes);
    emulator_switch_stack(&fibre->stack_pointer, scheduler);
    __sanitizer_finish_switch_fiber(fibre->fake_stack, nullptr, nullptr);
}

void fibre_main() {
    __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_stack_bytes);
    (*kernel)();
    pause(State::ended, {});
    std::abort();
}

std::size_t rank_of(const Fibre& which) {
    return static_cast<std::size_t>(&which - block->fibres.data());
}

void prepare(Fibre& which, char* memory) {
    void** top = reinterpret_cast<void**>(memory + stack_bytes);
    *--top = nullptr; // a return address would be here: keeps the alignment of a call
    *--top = reinterpret_cast<void*>(&fibre_main);
    for (int saved = 0; saved < 6; ++saved) {
        *--top = nullptr;
    }
    which.stack_pointer = top;
}

void resume(Fibre& which) {
    fibre = &which;
    which.state = State::ready;
    threadIdx = which.index;
    blockIdx = block->index;
    blockDim = launch->block;
    gridDim = launch->grid;
    void* fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&fake_stack, block->stacks[rank_of(which)], stack_bytes);
    emulator_switch_stack(&scheduler, which.stack_pointer);
    __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
    fibre = nullptr;
}

// Fills `indices` with the numbers below `count` in the order of the settings.
void order(std::vector<std::size_t>& indices, std::size_t count) {
    indices.resize(count);
    std::iota(indices.begin(), indices.end(), 0);
    if (the_settings.order == "reverse") {
        std::reverse(indices.begin(), indices.end());
    } else if (the_settings.order == "shuffled") {
        std::shuffle(indices.begin(), indices.end(), shuffler);
    }
}

// ---- barriers

// Notes a barrier. False for the one that is left out to see what then happens.
bool counts(const Site& site) {
    barriers.insert(site);
    return site.line != the_settings.skipped_line || site.name() != the_settings.skipped_file;
}

// The blocks' threads go on if all of them wait in `state`. Whether they do.
bool release(const std::vector<Block*>& blocks, State state) {
    const Fibre* first = nullptr;
    for (const Block* block_of : blocks) {
        for (const Fibre& each : block_of->fibres) {
            if (each.state == State::ended) {
                continue;
            }
            if (each.state != state) {
                return false;
            }
            first = first == nullptr ? &each : first;
            if (!(each.site == first->site)) {
                fail("threads wait for each other at " + first->site.text() + " and at " +
                     each.site.text());
            }
        }
    }
    for (Block* block_of : blocks) {
        for (Fibre& each : block_of->fibres) {
            each.state = each.state == state ? State::ready : each.state;
        }
    }
    return first != nullptr;
}

// Lanes go on where all that one of them names wait, and name the same.
bool release_lanes(Fibre* lanes, std::size_t count) {
    bool any = false;
    for (std::size_t i = 0; i < count; ++i) {
        const Fibre& asking = lanes[i];
        if (asking.state != State::in_warp) {
            continue;
        }
        bool all = true;
        for (std::size_t j = 0; j < warp_size; ++j) {
            if ((asking.lanes >> j & 1U) == 0) {
                continue;
            }
            if (j >= count || lanes[j].state == State::ended) {
                fail("a lane that has ended is waited for at " + asking.site.text());
            }
            if (lanes[j].state != State::in_warp) {
                all = false;
            } else if (lanes[j].lanes != asking.lanes || !(lanes[j].site == asking.site)) {
                fail("lanes of a warp wait at " + asking.site.text() + " and at " +
                     lanes[j].site.text());
            }
        }
        const unsigned named = asking.lanes;
        for (std::size_t j = 0; all && j < warp_size; ++j) {
            if ((named >> j & 1U) != 0) {
                lanes[j].state = State::ready;
            }
        }
        any = any || all;
    }
    return any;
}

struct Warp {
    Block* block;
    std::size_t first, count; // of its lanes

    bool ready() const {
        const auto begin = block->fibres.begin() + static_cast<std::ptrdiff_t>(first);
        return std::any_of(begin, begin + static_cast<std::ptrdiff_t>(count),
                           [](const Fibre& lane) { return lane.state == State::ready; });
    }
    // Until its lanes have ended or wait for others.
    void run() const {
        static std::vector<std::size_t> lanes;
        enter(block);
        do {
            order(lanes, count);
            for (const std::size_t lane : lanes) {
                Fibre& one = block->fibres[first + lane];
                if (one.state == State::ready) {
                    resume(one);
                }
            }
        } while (release_lanes(block->fibres.data() + first, count));
    }
};

[[noreturn]] void fail_for_ever(const std::vector<Block*>& blocks) {
    std::set<std::string> sites;
    for (const Block* each : blocks) {
        for (const Fibre& one : each->fibres) {
            sites.insert(one.state == State::ended ? "the end" : one.site.text());
        }
    }
    std::string text;
    for (const std::string& site : sites) {
        text += " " + site;
    }
    fail("threads wait for ever at" + text);
}

// Runs clusters side by side, always the first warp in the order of the settings that can run: one
// that need not wait is never held up by those that are slower.
void run_together(std::vector<std::vector<Block>>& clusters) {
    std::vector<Block*> blocks;
    std::vector<Warp> warps;
    for (std::vector<Block>& cluster : clusters) {
        for (Block& each : cluster) {
            blocks.push_back(&each);
            for (std::size_t first = 0; first < each.fibres.size(); first += warp_size) {
                warps.push_back(
                    {&each, first, std::min<std::size_t>(warp_size, each.fibres.size() - first)});
            }
        }
    }
    std::vector<std::size_t> turns;
    const auto run_one = [&] {
        order(turns, warps.size());
        for (const std::size_t i : turns) {
            if (warps[i].ready()) {
                warps[i].run();
                release({warps[i].block}, State::in_block);
                return true;
            }
        }
        return false;
    };
    const auto release_clusters = [&] {
        bool any = false;
        for (std::vector<Block>& cluster : clusters) {
            std::vector<Block*> all;
            for (Block& each : cluster) {
                all.push_back(&each);
            }
            any = release(all, State::in_cluster) || any;
        }
        return any;
    };
    while (run_one() || release_clusters()) {
    }
    if (!std::all_of(blocks.begin(), blocks.end(), [](Block* b) { return b->ended(); })) {
        fail_for_ever(blocks);
    }
    enter(nullptr);
}

Shape unravel(unsigned index, const Shape& shape) {
    return {index % shape.x, index / shape.x % shape.y, index / shape.x / shape.y};
}

void fill(std::vector<Block>& cluster, unsigned first) {
    const unsigned threads = launch->block.count();
    cluster.resize(launch->cluster);
    for (unsigned rank = 0; rank < launch->cluster; ++rank) {
        Block& made = cluster[rank];
        made.index = unravel(first + rank, launch->grid);
        made.rank = rank;
        made.cluster = &cluster;
        made.fibres.resize(threads);
        made.warps.resize((threads + warp_size - 1) / warp_size);
        made.shared.assign(launch->shared_bytes, poison);
        for_shared(made, [](unsigned char*, unsigned char* saved, std::size_t bytes) {
            std::memset(saved, poison, bytes);
        });
        for (unsigned i = 0; i < threads; ++i) {
            made.fibres[i].index = unravel(i, launch->block);
            made.stacks.push_back(take_stack());
            prepare(made.fibres[i], made.stacks.back());
        }
    }
}

} // namespace

void configure(const Settings& wanted) {
    the_settings = wanted;
    shuffler.seed(wanted.seed);
}

const Settings& settings() { return the_settings; }

std::string take_log() {
    std::string log = launches.str();
    for (const Site& site : barriers) {
        log += "barrier " + site.text() + "\n";
    }
    launches.str("");
    barriers.clear();
    return log;
}

void run(const Launch& what, const std::function<void()>& body) {
    launch = &what;
    kernel = &body;
    launches << "launch blocks=" << what.grid.count() << " cluster=" << what.cluster
             << " threads=" << what.block.count() << " shared=" << what.shared_bytes << "\n";
    // Some blocks at a time, as on a device: those of a grid may not wait for each other.
    constexpr std::size_t blocks_at_once = 8;
    std::vector<std::size_t> clusters;
    order(clusters, what.grid.count() / what.cluster);
    const std::size_t at_once = std::max<std::size_t>(1, blocks_at_once / what.cluster);
    for (std::size_t first = 0; first < clusters.size(); first += at_once) {
        std::vector<std::vector<Block>> resident(std::min(at_once, clusters.size() - first));
        for (std::size_t i = 0; i < resident.size(); ++i) {
            fill(resident[i], static_cast<unsigned>(clusters[first + i]) * what.cluster);
        }
        run_together(resident);
        for (const std::vector<Block>& cluster : resident) {
            for (const Block& each : cluster) {
                free_stacks.insert(free_stacks.end(), each.stacks.begin(), each.stacks.end());
            }
        }
    }
}

unsigned cluster_rank() { return block->rank; }
unsigned cluster_size() { return launch->cluster; }

void wait_for_block(const char* file, int line) {
    if (counts({file, line})) {
        pause(State::in_block, {file, line});
    }
}

void wait_for_cluster(const char* file, int line) {
    if (counts({file, line})) {
        pause(State::in_cluster, {file, line});
    }
}

void wait_for_warp(unsigned lanes, const char* file, int line) {
    if (counts({file, line})) {
        fibre->lanes = lanes;
        pause(State::in_warp, {file, line});
    }
}

void exchange(unsigned lanes, const void* mine, void* taken, std::size_t bytes, unsigned source,
              const char* file, int line) {
    const std::size_t rank = rank_of(*fibre);
    const unsigned turn = fibre->exchanges++;
    // two sets in turn: none is written again before the whole warp has read it
    Slot* const slots = block->warps[rank / warp_size].data() + turn % 2 * warp_size;
    Slot& own = slots[rank % warp_size];
    own.exchange = turn;
    std::memcpy(own.bytes.data(), mine, bytes);
    fibre->lanes = lanes;
    pause(State::in_warp, {file, line});
    if (slots[source].exchange != turn) {
        fail("lane " + std::to_string(source) + " has no value at " + Site{file, line}.text());
    }
    std::memcpy(taken, slots[source].bytes.data(), bytes);
}

void* in_block(void* mine, unsigned rank) {
    const auto offset =
        static_cast<std::size_t>(static_cast<unsigned char*>(mine) - busaug::dynamic_shared);
    if (offset >= launch->shared_bytes) {
        fail("an address outside dynamic shared memory is sought in another block");
    }
    if (rank >= launch->cluster) {
        fail("a block beyond the cluster is sought");
    }
    Block& other = (*block->cluster)[rank];
    if (other.ended()) {
        fail("the shared memory of a block that has ended is sought");
    }
    return &other == block ? mine : other.shared.data() + offset;
}

void fail(const std::string& what) {
    std::fprintf(stderr, "emulator: %s\n", what.c_str());
    std::fflush(stderr);
    std::_Exit(3);
}

} // namespace emulator
