// How the threads of a machine share a batch of images.
#pragma once

#include "team.hpp"

#include <algorithm>
#include <atomic>
#include <vector>

namespace busaug {

// Below this many rows a thread costs more than it saves.
constexpr Index minimum_rows_per_thread = 16;

// Elements between what one member writes and what another does, in one allocation: a page, so that
// neither stores nor prefetches of a core take lines from another.
template <class T> constexpr Index gap = 4096 / static_cast<Index>(sizeof(T));

// Calls work(image, workspace, team) for every image of a batch. As many images as fill the threads
// evenly go to one thread each; the others are worked on one by one, every thread taking part.
// `workspace` is what make_workspace(members) returned for a team of that size; it serves one
// image after the other.
template <class MakeWorkspace, class Work>
void for_each_image(Index images, Index height, int threads, const MakeWorkspace& make_workspace,
                    const Work& work) {
    const Index apart = images - images % threads;
    if (apart > 0) {
        std::vector<decltype(make_workspace(1))> workspaces;
        workspaces.reserve(static_cast<std::size_t>(threads));
        for (int rank = 0; rank < threads; ++rank) {
            workspaces.push_back(make_workspace(1));
        }
        std::atomic<Index> next{0};
        run_team(threads, [&](const Team& member) {
            Team::Barrier nobody;
            Team alone(0, 1, nobody);
            auto& workspace = workspaces[static_cast<std::size_t>(member.rank())];
            for (Index image = next++; image < apart; image = next++) {
                work(image, workspace, alone);
            }
        });
    }
    if (apart < images) {
        const Index useful = std::max<Index>(1, height / minimum_rows_per_thread);
        const int members = static_cast<int>(std::min<Index>(threads, useful));
        auto workspace = make_workspace(members);
        run_team(members, [&](Team& team) {
            for (Index image = apart; image < images; ++image) {
                work(image, workspace, team);
            }
        });
    }
}

} // namespace busaug
