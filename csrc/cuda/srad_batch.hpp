// What both ways of diffusing a batch share.
#pragma once

#include "busaug/api.hpp"

namespace busaug {

constexpr int srad_threads = 256;

template <class Real> struct SradArrays {
    const Real* images;
    const Index* regions;
    Real* output;
};

// Columns a lane takes: as many as one access of 16 bytes moves, or one where rows are not aligned
// to it.
template <class Real> constexpr int wide_columns = 16 / static_cast<int>(sizeof(Real));

// Blocks that the registers of a multiprocessor must allow: its shared memory holds three of a
// 256 x 256 image.
template <class Real> constexpr int srad_residents = sizeof(Real) == 4 ? 3 : 1;

} // namespace busaug
