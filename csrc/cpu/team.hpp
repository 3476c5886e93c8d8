// A few threads that work on one task and wait for each other between its steps.
#pragma once

#include "busaug/macros.hpp"

#include <atomic>
#include <future>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace busaug {

// Half-open range of rows, images or the like.
struct Range {
    Index begin, end;
};

// One member's view of its team.
class Team {
  public:
    class Barrier {
      public:
        // Spins, since the steps between two waits are short; yields where a core is shared.
        void wait(int size) {
            const unsigned phase = phase_.load(std::memory_order_acquire);
            if (waiting_.fetch_add(1, std::memory_order_acq_rel) + 1 == size) {
                waiting_.store(0, std::memory_order_relaxed);
                phase_.store(phase + 1, std::memory_order_release);
                return;
            }
            for (int spins = 0; phase_.load(std::memory_order_acquire) == phase; ++spins) {
                if (spins > 1024) {
                    std::this_thread::yield();
                }
            }
        }

      private:
        std::atomic<int> waiting_{0};
        std::atomic<unsigned> phase_{0};
    };

    Team(int rank, int size, Barrier& barrier) : rank_(rank), size_(size), barrier_(barrier) {}

    int rank() const { return rank_; }
    int size() const { return size_; }

    // This member's share of `count` things, contiguous.
    Range share(Index count) const { return {count * rank_ / size_, count * (rank_ + 1) / size_}; }

    void wait() {
        if (size_ > 1) {
            barrier_.wait(size_);
        }
    }

  private:
    int rank_;
    int size_;
    Barrier& barrier_;
};

// Calls work(Team&) on every member of a team of `size` threads, the caller among them, and returns
// when all have ended. Where the system grants fewer threads the team is smaller. `work` must not
// throw.
template <class Work> void run_team(int size, Work&& work) {
    Team::Barrier barrier;
    std::promise<int> granted;
    const std::shared_future<int> team_size = granted.get_future().share();
    std::vector<std::thread> members;
    members.reserve(static_cast<std::size_t>(size > 1 ? size - 1 : 0));
    try {
        for (int rank = 1; rank < size; ++rank) {
            members.emplace_back([&work, &barrier, team_size, rank] {
                Team team(rank, team_size.get(), barrier);
                work(team);
            });
        }
    } catch (const std::system_error&) {
        // no more threads to be had: those that started are the team
    }
    const int all = static_cast<int>(members.size()) + 1;
    granted.set_value(all);
    Team team(0, all, barrier);
    work(team);
    for (std::thread& member : members) {
        member.join();
    }
}

} // namespace busaug
