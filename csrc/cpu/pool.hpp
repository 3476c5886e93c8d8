// Short loops between torch's own, on the same threads.
//
// torch's CPU operators run on the threads of the process's OpenMP runtime, which after each wait
// actively for the next. A new thread would have to wrest a core from them, which takes
// milliseconds. Where the process has GNU's runtime its threads are asked instead; elsewhere a team
// of new ones does the work.
#pragma once

#include "team.hpp"

#include <atomic>

#if defined(__linux__)
#include <dlfcn.h>
#include <unistd.h>
#endif

namespace busaug {

// GNU's entry point of a parallel region: function(data) on so many threads, the caller among them.
using GompParallel = void (*)(void (*function)(void*), void* data, unsigned threads,
                              unsigned flags);

// Null where the process has no such runtime, or was forked and has lost its threads. It is looked
// up and not linked: torch brings its own, and makes its symbols global when it is imported, before
// this module or after.
#if defined(__linux__)
inline const pid_t loaded_by = getpid();

inline GompParallel gomp_parallel() {
    void* found = getpid() == loaded_by ? dlsym(RTLD_DEFAULT, "GOMP_parallel") : nullptr;
    return reinterpret_cast<GompParallel>(found);
}
#else
inline GompParallel gomp_parallel() { return nullptr; }
#endif

// A loop over `count` things in pieces, which whoever is free takes next.
template <class Work> class SharedLoop {
  public:
    SharedLoop(Index count, Index pieces, const Work& work)
        : count_(count), pieces_(pieces), work_(work) {}

    void run(int threads) {
        if (threads == 1) {
            take_pieces();
        } else if (const GompParallel parallel = gomp_parallel()) {
            parallel([](void* loop) { static_cast<SharedLoop*>(loop)->take_pieces(); }, this,
                     static_cast<unsigned>(threads), 0);
        } else {
            run_team(threads, [this](Team&) { take_pieces(); });
        }
    }

  private:
    void take_pieces() {
        for (Index piece = next_++; piece < pieces_; piece = next_++) {
            work_(Range{count_ * piece / pieces_, count_ * (piece + 1) / pieces_});
        }
    }

    Index count_, pieces_;
    const Work& work_;
    std::atomic<Index> next_{0};
};

// Calls work(range) until the ranges have covered [0, count), on at most `threads` threads. `work`
// must not throw.
template <class Work> void parallel_for(Index count, int threads, const Work& work) {
    constexpr Index pieces_a_thread = 4; // one may be held up
    SharedLoop<Work>(count, threads == 1 ? 1 : pieces_a_thread * threads, work).run(threads);
}

} // namespace busaug
