#include "emulator.hpp"

#include "fibre.hpp"
#include "shared_memory.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <random>
#include <set>
#include <sstream>
#include <utility>
#include <vector>

emulator::Shape threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {
namespace {

constexpr unsigned warp_size = 32;

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

struct Thread {
    Fibre fibre;
    Shape index; // threadIdx
    State state = State::ready;
    Site site{};        // where it waits
    unsigned lanes = 0; // that it waits for in its warp
    unsigned exchanges = 0;
};

// What a lane shows to the others of its warp.
struct Slot {
    unsigned exchange = ~0U;
    std::array<unsigned char, largest_exchange> bytes{};
};

struct Block {
    Shape index; // blockIdx
    unsigned rank;
    std::vector<Block>* cluster;
    SharedMemory shared;
    std::vector<Thread> threads{};
    std::vector<std::array<Slot, 2 * warp_size>> slots{}; // of every warp

    bool ended() const {
        return std::all_of(threads.begin(), threads.end(),
                           [](const Thread& thread) { return thread.state == State::ended; });
    }
};

using Cluster = std::vector<Block>;

Settings the_settings;
std::mt19937 shuffler;
std::ostringstream launches;
std::set<Site> barriers;

const Launch* launch = nullptr; // the one that is carried out
const std::function<void()>* kernel = nullptr;
Block* block = nullptr;   // whose shared memory is in place
Thread* thread = nullptr; // that runs

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

// ---- waiting

// In the running thread.
void wait(State state, const Site& site) {
    thread->state = state;
    thread->site = site;
    Fibre::pause();
}

// Notes a barrier. False for the one that is left out to see what then happens.
bool counts(const Site& site) {
    barriers.insert(site);
    return site.line != the_settings.skipped_line || site.name() != the_settings.skipped_file;
}

[[noreturn]] void fail_apart(const Thread& one, const Thread& other) {
    fail("threads wait for each other at " + one.site.text() + " and at " + other.site.text());
}

// All threads that `of` has go on if those that have not ended wait in `state`. Whether they do.
template <class Blocks> bool release(const Blocks& of, State state) {
    const Thread* first = nullptr;
    for (const Block* each : of) {
        for (const Thread& one : each->threads) {
            if (one.state == State::ended) {
                continue;
            }
            if (one.state != state) {
                return false;
            }
            first = first == nullptr ? &one : first;
            if (!(one.site == first->site)) {
                fail_apart(*first, one);
            }
        }
    }
    for (Block* each : of) {
        for (Thread& one : each->threads) {
            one.state = one.state == state ? State::ready : one.state;
        }
    }
    return first != nullptr;
}

// Lanes go on where all that one of them names wait, and name the same.
bool release_lanes(Thread* lanes, std::size_t count) {
    bool any = false;
    for (std::size_t i = 0; i < count; ++i) {
        const Thread& asking = lanes[i];
        if (asking.state != State::in_warp) {
            continue;
        }
        const unsigned named = asking.lanes;
        bool all = true;
        for (std::size_t j = 0; j < warp_size; ++j) {
            if ((named >> j & 1U) == 0) {
                continue;
            }
            if (j >= count || lanes[j].state == State::ended) {
                fail("a lane that has ended is waited for at " + asking.site.text());
            }
            if (lanes[j].state != State::in_warp) {
                all = false;
            } else if (lanes[j].lanes != named || !(lanes[j].site == asking.site)) {
                fail_apart(asking, lanes[j]);
            }
        }
        for (std::size_t j = 0; all && j < warp_size; ++j) {
            if ((named >> j & 1U) != 0) {
                lanes[j].state = State::ready;
            }
        }
        any = any || all;
    }
    return any;
}

// ---- running

void enter(Block* next) {
    if (block == next) {
        return;
    }
    if (block != nullptr) {
        block->shared.take_away();
        if (block->ended()) {
            block->shared.drop();
        }
    }
    block = next;
    if (block != nullptr) {
        block->shared.put_in_place();
    }
}

void run(Thread& next) {
    thread = &next;
    threadIdx = next.index;
    blockIdx = block->index;
    blockDim = launch->block;
    gridDim = launch->grid;
    next.fibre.resume();
    if (next.fibre.ended()) {
        next.state = State::ended;
    }
    thread = nullptr;
}

struct Warp {
    Block* of;
    std::size_t first, count; // of its lanes

    bool ready() const {
        const Thread* const lanes = of->threads.data() + first;
        return std::any_of(lanes, lanes + count,
                           [](const Thread& lane) { return lane.state == State::ready; });
    }
    // Until its lanes have ended or wait for others.
    void run_on() const {
        static std::vector<std::size_t> turns;
        Thread* const lanes = of->threads.data() + first;
        enter(of);
        do {
            order(turns, count);
            for (const std::size_t lane : turns) {
                if (lanes[lane].state == State::ready) {
                    run(lanes[lane]);
                }
            }
        } while (release_lanes(lanes, count));
    }
};

[[noreturn]] void fail_for_ever(const std::vector<Cluster>& clusters) {
    std::set<std::string> sites;
    for (const Cluster& cluster : clusters) {
        for (const Block& each : cluster) {
            for (const Thread& one : each.threads) {
                sites.insert(one.state == State::ended ? "the end" : one.site.text());
            }
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
void run_together(std::vector<Cluster>& clusters) {
    std::vector<Warp> warps;
    std::vector<std::vector<Block*>> peers; // the blocks of each cluster
    for (Cluster& cluster : clusters) {
        peers.emplace_back();
        for (Block& each : cluster) {
            peers.back().push_back(&each);
            for (std::size_t first = 0; first < each.threads.size(); first += warp_size) {
                const std::size_t left = each.threads.size() - first;
                warps.push_back({&each, first, std::min<std::size_t>(warp_size, left)});
            }
        }
    }
    std::vector<std::size_t> turns;
    const auto run_one = [&] {
        order(turns, warps.size());
        for (const std::size_t i : turns) {
            if (warps[i].ready()) {
                warps[i].run_on();
                release(std::array{warps[i].of}, State::in_block);
                return true;
            }
        }
        return false;
    };
    const auto release_clusters = [&] {
        bool any = false;
        for (const std::vector<Block*>& blocks : peers) {
            any = release(blocks, State::in_cluster) || any;
        }
        return any;
    };
    while (run_one() || release_clusters()) {
    }
    for (const Cluster& cluster : clusters) {
        if (!std::all_of(cluster.begin(), cluster.end(),
                         [](const Block& b) { return b.ended(); })) {
            fail_for_ever(clusters);
        }
    }
    enter(nullptr);
}

Shape unravel(unsigned index, const Shape& shape) {
    return {index % shape.x, index / shape.x % shape.y, index / shape.x / shape.y};
}

void fill(Cluster& cluster, unsigned first) {
    const unsigned threads = launch->block.count();
    cluster.reserve(launch->cluster);
    for (unsigned rank = 0; rank < launch->cluster; ++rank) {
        cluster.push_back({unravel(first + rank, launch->grid), rank, &cluster,
                           SharedMemory(launch->shared_bytes)});
        Block& made = cluster.back();
        made.slots.resize((threads + warp_size - 1) / warp_size);
        made.threads.reserve(threads);
        for (unsigned i = 0; i < threads; ++i) {
            made.threads.push_back({Fibre([] { (*kernel)(); }), unravel(i, launch->block)});
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
    const std::size_t at_once = std::max<std::size_t>(1, blocks_at_once / what.cluster);
    std::vector<std::size_t> turns;
    order(turns, what.grid.count() / what.cluster);
    for (std::size_t first = 0; first < turns.size(); first += at_once) {
        std::vector<Cluster> clusters(std::min(at_once, turns.size() - first));
        for (std::size_t i = 0; i < clusters.size(); ++i) {
            fill(clusters[i], static_cast<unsigned>(turns[first + i]) * what.cluster);
        }
        run_together(clusters);
    }
}

unsigned cluster_rank() { return block->rank; }
unsigned cluster_size() { return launch->cluster; }

void wait_for_block(const char* file, int line) {
    if (counts({file, line})) {
        wait(State::in_block, {file, line});
    }
}

void wait_for_cluster(const char* file, int line) {
    if (counts({file, line})) {
        wait(State::in_cluster, {file, line});
    }
}

void wait_for_warp(unsigned lanes, const char* file, int line) {
    if (counts({file, line})) {
        thread->lanes = lanes;
        wait(State::in_warp, {file, line});
    }
}

void exchange(unsigned lanes, const void* mine, void* taken, std::size_t bytes, unsigned source,
              const char* file, int line) {
    const auto rank = static_cast<std::size_t>(thread - block->threads.data());
    const unsigned turn = thread->exchanges++;
    // two sets in turn: none is written again before the whole warp has read it
    Slot* const slots = block->slots[rank / warp_size].data() + turn % 2 * warp_size;
    Slot& own = slots[rank % warp_size];
    own.exchange = turn;
    std::memcpy(own.bytes.data(), mine, bytes);
    thread->lanes = lanes;
    wait(State::in_warp, {file, line});
    if (slots[source].exchange != turn) {
        fail("lane " + std::to_string(source) + " has no value at " + Site{file, line}.text());
    }
    std::memcpy(taken, slots[source].bytes.data(), bytes);
}

void* in_block(void* mine, unsigned rank) {
    if (rank >= launch->cluster) {
        fail("a block beyond the cluster is sought");
    }
    Block& other = (*block->cluster)[rank];
    if (&other == block) {
        return mine;
    }
    if (other.ended()) {
        fail("the shared memory of a block that has ended is sought");
    }
    return other.shared.counterpart(mine);
}

void fail(const std::string& what) {
    std::fprintf(stderr, "emulator: %s\n", what.c_str());
    std::fflush(stderr);
    std::_Exit(3);
}

} // namespace emulator
