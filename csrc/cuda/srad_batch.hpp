// What both ways of diffusing a batch share.
#pragma once

#include "busaug/api.hpp"

namespace busaug {

constexpr int srad_threads = 256;

// Columns a lane takes: as many as one access of 16 bytes moves, or one where rows are not aligned
// to it.
template <class Real> constexpr int wide_columns = 16 / static_cast<int>(sizeof(Real));

// Blocks that the registers of a multiprocessor must allow: its shared memory holds three of a
// 256 x 256 image.
template <class Real> constexpr int srad_residents = sizeof(Real) == 4 ? 3 : 1;

// What an image's values mean. Without ranges they are intensities and stay as they are.
template <class Real> struct Domain {
    const Real* ranges;

    __device__ Real intensity(Index image, Real value) const {
        return ranges == nullptr ? value : compression(image).intensity(value);
    }
    __device__ Real pixel(Index image, Real intensity) const {
        return ranges == nullptr ? intensity : compression(image).pixel(intensity);
    }

  private:
    __device__ Compression<Real> compression(Index image) const {
        return {ranges[2 * image], ranges[2 * image + 1]};
    }
};

} // namespace busaug
