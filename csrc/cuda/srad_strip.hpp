// SRAD of a strip of rows by one warp: each lane walks down its columns with three rows and a row
// of coefficients in registers, so that a pixel is read once and its coefficient formed once.
#pragma once

#include "block.hpp"
#include "busaug/srad.hpp"
#include "busaug/tiles.hpp"

namespace busaug {

// Lane 31 takes the coefficients east of the warp from a register of each lane, one lane a row.
constexpr int tallest_strip = warp_size;

// Rows of an image, or of a band of it, wherever they lie.
template <class Real, class Offset> struct Rows {
    Real* first; // row `top`
    int top;
    Offset pitch;

    __device__ Real* row(int y) const { return first + (y - top) * pitch; }
};

// A lane's columns of one row, with the pixels beside them.
template <class Real, int columns> struct RowPart {
    Real west;
    Pack<Real, columns> centre;
    Real east;
};

template <class Real, int columns>
__device__ Stencil<Real> stencil(const RowPart<Real, columns>& north,
                                 const RowPart<Real, columns>& row,
                                 const RowPart<Real, columns>& south, int i) {
    return {row.centre.value[i], north.centre.value[i], south.centre.value[i],
            i == 0 ? row.west : row.centre.value[i - 1],
            i == columns - 1 ? row.east : row.centre.value[i + 1]};
}

// Where one lane works. A lane without work repeats another's and keeps nothing.
struct StripPart {
    Span rows;
    int column; // the first of its columns
    bool idle;
};

__device__ inline StripPart strip_part(const Strips& strips, int position, int columns) {
    const int last = strips.count() - 1;
    const int worked = position < last ? position : last;
    return {strips.strip(worked), strips.group(worked) * columns, position != worked};
}

// What an iteration needs beside the pixels.
template <class Real> struct Step {
    int height, width; // of the image
    SpeckleTerms<Real> speckle;
    Real step; // time_step / 4
};

// The coefficients of the column just east of the warp, lane r that of row r of lane 31's strip.
// Where that strip ends at the image's border any finite value will do: no flux crosses it.
template <SradForm form, class Real, class Offset>
__device__ Real coefficients_beside(const Rows<const Real, Offset>& source, const Step<Real>& step,
                                    const StripPart& part, int columns) {
    constexpr int last_lane = warp_size - 1;
    const int x = __shfl_sync(all_lanes, part.column, last_lane) + columns;
    const int begin = __shfl_sync(all_lanes, part.rows.begin, last_lane);
    const int end = __shfl_sync(all_lanes, part.rows.end, last_lane);
    if (x >= step.width) {
        return Real(1);
    }
    const int lane = lane_rank(warp_size);
    const int y = begin + lane < end ? begin + lane : end - 1;
    const Real* row = source.row(y);
    return diffusion_coefficient<form>(Stencil<Real>{row[x], source.row(before(y))[x],
                                                     source.row(after(y, step.height))[x],
                                                     row[before(x)], row[after(x, step.width)]},
                                       step.speckle);
}

// Calls keep(y, pixels) with the pixels after one iteration, for every row of the lane's strip.
// All lanes of the warp call it together; strip_rows, at most tallest_strip, is the same for all.
// Two rows below the strip are read, as far as the image has them, and one above.
template <SradForm form, int columns, class Real, class Offset, class Keep>
__device__ void diffuse_strip(const Rows<const Real, Offset>& source, const Step<Real>& step,
                              const StripPart& part, int strip_rows, const Keep& keep) {
    using Part = RowPart<Real, columns>;
    using Pixels = Pack<Real, columns>;
    const int west = before(part.column);
    const int east = after(part.column + columns - 1, step.width);
    const int extent = part.rows.end + 2 < step.height ? part.rows.end + 2 : step.height;
    const bool at_edge_of_warp = lane_rank(warp_size) == warp_size - 1;
    const auto load = [&](int y) {
        const Real* row = source.row(y);
        return Part{row[west], *reinterpret_cast<const Pixels*>(row + part.column), row[east]};
    };

    const Real beside = coefficients_beside<form>(source, step, part, columns);
    int y_far = after(part.rows.begin, extent);
    Part north = load(before(part.rows.begin));
    Part row = load(part.rows.begin);
    Part south = load(y_far);
    Real c[columns];
#pragma unroll
    for (int i = 0; i < columns; ++i) {
        c[i] = diffusion_coefficient<form>(stencil(north, row, south, i), step.speckle);
    }
    for (int r = 0; r < strip_rows; ++r) {
        y_far = after(y_far, extent);
        const Part far = load(y_far);
        const Real c_right = __shfl_down_sync(all_lanes, c[0], 1);
        const Real c_beside = __shfl_sync(all_lanes, beside, r);
        const Real c_east = at_edge_of_warp ? c_beside : c_right;
        Pixels fresh;
#pragma unroll
        for (int i = 0; i < columns; ++i) {
            const Real c_south =
                diffusion_coefficient<form>(stencil(row, south, far, i), step.speckle);
            fresh.value[i] = diffused(stencil(north, row, south, i), c[i], c_south,
                                      i == columns - 1 ? c_east : c[i + 1], step.step);
            c[i] = c_south;
        }
        const int y = part.rows.begin + r;
        if (!part.idle && y < part.rows.end) {
            keep(y, fresh);
        }
        north = row;
        row = south;
        south = far;
    }
}

} // namespace busaug
