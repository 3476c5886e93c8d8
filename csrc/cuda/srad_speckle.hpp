// Sums over a region's pixels, from which q0 is measured. Additions keep one order - eight lanes a
// row, lane by lane, row by row - however the image is cut among blocks.
#pragma once

#include "block.hpp"
#include "busaug/srad.hpp"
#include "busaug/tiles.hpp"

namespace busaug {

struct Region {
    int row, column, height, width;

    __device__ Span rows() const { return {row, row + height}; }
    __device__ Index count() const { return static_cast<Index>(height) * width; }
};

// A region as the caller gave it: row, column, height, width. Those outside the image are refused
// by busaug.ops; here they are cut to it, so that no memory outside is read.
__device__ inline Region region_of(const Index* given, int height, int width) {
    const auto inside = [](Index value, Index most) {
        return static_cast<int>(value < 0 ? 0 : value < most ? value : most);
    };
    const int row = inside(given[0], height - 1);
    const int column = inside(given[1], width - 1);
    return {row, column, inside(given[2], height - row), inside(given[3], width - column)};
}

// Relative to one of the pixels; see region_q0_squared.
struct RowSums {
    double sum, squares;
};

// Calls keep(y, sums) once for every one of `rows`, all of the region. All threads of the block
// call it together.
template <class Real, class RowOf, class Keep>
__device__ void sum_rows(const Region& region, double origin, Span rows, const RowOf& row_of,
                         const Keep& keep) {
    constexpr int lanes = 8;
    const int team = group_rank(lanes);
    const int teams = static_cast<int>(blockDim.x / lanes);
    const int lane = lane_rank(lanes);
    for (int first = rows.begin; first < rows.end; first += teams) {
        const int y = first + team;
        RowSums mine{0.0, 0.0};
        if (y < rows.end) {
            const Real* row = row_of(y) + region.column;
            for (int x = lane; x < region.width; x += lanes) {
                const double value = static_cast<double>(row[x]) - origin;
                mine.sum += value;
                mine.squares += value * value;
            }
        }
        RowSums total{0.0, 0.0};
#pragma unroll
        for (int other = 0; other < lanes; ++other) {
            total.sum += __shfl_sync(all_lanes, mine.sum, other, lanes);
            total.squares += __shfl_sync(all_lanes, mine.squares, other, lanes);
        }
        if (y < rows.end && lane == 0) {
            keep(y, total);
        }
    }
}

// Adds up what sums_of(y) gives for every row of the region. All lanes of a warp call it together
// and get the result.
template <class SumsOf> __device__ RowSums add_rows(const Region& region, const SumsOf& sums_of) {
    const int lane = lane_rank(warp_size);
    const Span rows = region.rows();
    RowSums total{0.0, 0.0};
    for (int first = rows.begin; first < rows.end; first += warp_size) {
        const RowSums mine = first + lane < rows.end ? sums_of(first + lane) : RowSums{0.0, 0.0};
        for (int other = 0; other < warp_size && first + other < rows.end; ++other) {
            total.sum += __shfl_sync(all_lanes, mine.sum, other);
            total.squares += __shfl_sync(all_lanes, mine.squares, other);
        }
    }
    return total;
}

} // namespace busaug
