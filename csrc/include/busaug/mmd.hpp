// The Gram form of the polynomial-kernel style loss (Li et al. 2017, arXiv 1701.01036): the maths
// of one entry, read by host and device alike. For features F of N channels and M positions, P = F
// F^T and a symmetric target T,
//
//     D = P / M - T,        loss = ||D||_F^2 / (4 N^2),        gradient = D F / (N^2 M).
//
// D is symmetric: its lower triangle is enough, with every entry left of the diagonal taken twice.
#pragma once

#include "busaug/macros.hpp"

namespace busaug {

template <class Real>
BUSAUG_HOST_DEVICE BUSAUG_INLINE Real gram_difference(Real product, Real positions, Real target) {
    return product / positions - target;
}

// ||D||_F^2 from the sum of squares left of the diagonal and that on it.
BUSAUG_HOST_DEVICE BUSAUG_INLINE double symmetric_square(double left, double diagonal) {
    return 2.0 * left + diagonal;
}

BUSAUG_HOST_DEVICE BUSAUG_INLINE double style_loss(double square, Index channels) {
    const double n = static_cast<double>(channels);
    return square / (4.0 * n * n);
}

// The lower triangle of P, computed in blocks of rows: block k holds rows [begin, end) of every
// image, dense, each with its first `end` columns, and follows block k - 1.
struct RowBlock {
    Index begin, end;
    Index offset; // of the block, in entries
};

BUSAUG_HOST_DEVICE BUSAUG_INLINE RowBlock row_block(Index k, Index height, Index channels,
                                                    Index images) {
    const Index begin = k * height;
    const Index end = begin + height < channels ? begin + height : channels;
    return {begin, end, images * height * height * (k * (k + 1) / 2)};
}

} // namespace busaug
