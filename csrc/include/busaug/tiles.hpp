// How rows are cut among blocks and warps: index arithmetic for host and device.
#pragma once

#include "busaug/macros.hpp"

namespace busaug {

BUSAUG_HOST_DEVICE BUSAUG_INLINE constexpr int ceil_div(int a, int b) { return (a + b - 1) / b; }

// Half-open range of rows.
struct Span {
    int begin, end;

    BUSAUG_HOST_DEVICE BUSAUG_INLINE int size() const { return end - begin; }
    BUSAUG_HOST_DEVICE BUSAUG_INLINE Span within(Span other) const {
        const int first = begin > other.begin ? begin : other.begin;
        const int last = end < other.end ? end : other.end;
        return {first, last > first ? last : first};
    }
};

// Rows of an image cut into bands of sizes that differ by one at most. (rows + 1) x count has 31
// bits.
struct Bands {
    int rows, count;

    BUSAUG_HOST_DEVICE BUSAUG_INLINE Span band(int rank) const {
        return {rows * rank / count, rows * (rank + 1) / count};
    }
    BUSAUG_HOST_DEVICE BUSAUG_INLINE int owner(int row) const {
        return ((row + 1) * count - 1) / rows;
    }
    BUSAUG_HOST_DEVICE BUSAUG_INLINE int largest() const { return ceil_div(rows, count); }
};

// A band of rows cut into strips, a strip into groups of neighbouring columns; numbered strip by
// strip, so that consecutive numbers are neighbours in a row wherever they share a strip.
struct Strips {
    Span rows;
    int strip_rows;
    int groups; // of a row

    BUSAUG_HOST_DEVICE BUSAUG_INLINE int count() const {
        return ceil_div(rows.size(), strip_rows) * groups;
    }
    BUSAUG_HOST_DEVICE BUSAUG_INLINE int group(int position) const { return position % groups; }
    BUSAUG_HOST_DEVICE BUSAUG_INLINE Span strip(int position) const {
        const int begin = rows.begin + position / groups * strip_rows;
        const int end = begin + strip_rows;
        return {begin, end < rows.end ? end : rows.end};
    }
};

// Tiles of a symmetric matrix left of and on the diagonal, numbered row by row.
struct TriangleTile {
    int row, column;
};

BUSAUG_HOST_DEVICE BUSAUG_INLINE TriangleTile triangle_tile(int number) {
    int row = 0;
    while (number > row) {
        number -= ++row;
    }
    return {row, number};
}

} // namespace busaug
