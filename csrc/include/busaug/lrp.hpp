// Alpha-beta rule of layer-wise relevance propagation (Bach et al. 2015, PLoS ONE 10(7):e0130140,
// section 2.2): the maths of one element, read by the CPU loops and the CUDA kernels alike.
//
// A unit j of a convolution or linear layer sums contributions z_ij = a_i w_ij. With z+ and z- the
// sums of the positive and the negative ones and R_j the unit's relevance, input i receives
//
//     R_i = sum_j R_j (alpha z_ij+ / z+ - beta z_ij- / z-),    alpha - beta = 1.
//
// Here are the quotients s+ = alpha R_j / z+ and s- = -beta R_j / z-; matrix products carry them
// back. z- is not summed on its own: it is the linear part of the layer's output less z+, whose
// rounding is proportional to z+. A difference within that rounding is no negative part.
#pragma once

#include "busaug/macros.hpp"

namespace busaug {

// Units of a layer, Real[outer][channels][inner]: inner is 1 where channels lie next to each other
// (channels-last maps, linear layers), the number of positions where each channel is a plane.
// Arrays with two parts a unit are Real[outer][2][channels][inner].
struct LrpUnits {
    Index outer, channels, inner;

    BUSAUG_HOST_DEVICE Index block() const { return channels * inner; }
    BUSAUG_HOST_DEVICE Index size() const { return outer * block(); }
    BUSAUG_HOST_DEVICE Index channel(Index element) const { return element % block() / inner; }
    // Where a part of the element lies in an array with so many parts a unit.
    BUSAUG_HOST_DEVICE Index part(Index element, int part, int parts) const {
        return element + (element / block() * (parts - 1) + part) * block();
    }
};

// What stands for the relevance of a unit with output y.
enum class LrpFactor {
    relevance = 0,          // R itself
    gradient = 1,           // G, R = y G
    rectified_gradient = 2, // G of what a ReLU makes of y, R = max(y, 0) G
};

// What a part takes of the relevance: where the unit has both parts, only this one, or not this
// one.
template <class Real> struct LrpShare {
    Real both, alone, absent;
};

template <class Real> struct AlphaBeta {
    LrpShare<Real> positive, negative;
    Real stabiliser; // moves denominators away from zero
    Real rounding;   // of the linear part less z+, relative to z+
    Real absorbed;   // 1: the bias belongs to the parts, by its sign, and keeps its share; 0: not
};

// With `zero_part` a unit without one part passes everything through the other, or it would leak
// beta or alpha times its relevance.
template <class Real>
AlphaBeta<Real> alpha_beta(double alpha, double beta, bool zero_part, bool absorb_bias,
                           double rounding) {
    const Real pos = static_cast<Real>(alpha);
    const Real neg = static_cast<Real>(-beta);
    const LrpShare<Real> everything{pos, zero_part ? Real(1) : pos, zero_part ? Real(0) : pos};
    const LrpShare<Real> other{neg, zero_part ? Real(1) : neg, zero_part ? Real(0) : neg};
    return {everything, other, Real(1e-9), static_cast<Real>(rounding), Real(absorb_bias ? 1 : 0)};
}

template <class Real> struct LrpUnit {
    Real positive; // z+ without the bias
    Real linear;   // sum of all contributions, the bias excluded
    Real bias;
};

template <class Real> struct LrpQuotients {
    Real positive, negative;
};

template <class Real> BUSAUG_HOST_DEVICE BUSAUG_INLINE Real above_zero(Real x) {
    return x > Real(0) ? x : Real(0);
}
template <class Real> BUSAUG_HOST_DEVICE BUSAUG_INLINE Real below_zero(Real x) {
    return x < Real(0) ? x : Real(0);
}

// Zero counts as positive.
template <class Real> BUSAUG_HOST_DEVICE BUSAUG_INLINE Real stabilised(Real z, Real epsilon) {
    return z + (z >= Real(0) ? epsilon : -epsilon);
}

template <LrpFactor kind, class Real>
BUSAUG_HOST_DEVICE BUSAUG_INLINE Real unit_relevance(const LrpUnit<Real>& unit, Real factor) {
    if constexpr (kind == LrpFactor::relevance) {
        return factor;
    } else if constexpr (kind == LrpFactor::gradient) {
        return (unit.linear + unit.bias) * factor;
    } else {
        return above_zero(unit.linear + unit.bias) * factor;
    }
}

template <class Real>
BUSAUG_HOST_DEVICE BUSAUG_INLINE LrpQuotients<Real>
unit_quotients(const AlphaBeta<Real>& rule, const LrpUnit<Real>& unit, Real relevance) {
    const Real bias = rule.absorbed * unit.bias;
    const Real difference = unit.linear - unit.positive;
    const Real negative = difference < -(rule.rounding * unit.positive) ? difference : Real(0);
    const Real z_pos = unit.positive + above_zero(bias);
    const Real z_neg = negative + below_zero(bias);
    const Real if_pos = z_neg < Real(0) ? rule.positive.both : rule.positive.alone;
    const Real if_neg = z_pos > Real(0) ? rule.negative.both : rule.negative.alone;
    const Real share_pos = z_pos > Real(0) ? if_pos : rule.positive.absent;
    const Real share_neg = z_neg < Real(0) ? if_neg : rule.negative.absent;
    return {share_pos * relevance / stabilised(z_pos, rule.stabiliser),
            share_neg * relevance / stabilised(z_neg, rule.stabiliser)};
}

// An input of any sign as two that are not negative, a = positive - negative. With weights w and -w
// the contributions stay the same, and their signs are the weights' alone.
template <class Real>
BUSAUG_HOST_DEVICE BUSAUG_INLINE void split_by_sign(Real a, Real& positive, Real& negative) {
    positive = above_zero(a);
    negative = above_zero(-a);
}

// What comes back to the two as what comes back to the input: a merged = sum of split x back.
template <class Real>
BUSAUG_HOST_DEVICE BUSAUG_INLINE Real merge_by_sign(Real a, Real positive, Real negative) {
    return a < Real(0) ? -negative : positive;
}

// Sum of values and of their magnitudes.
struct LrpSums {
    double sum, magnitude;
};

// Arrays Real[images][elements] that are summed an image, in blocks: the order is fixed by them.
struct LrpImages {
    Index images, elements, blocks;

    BUSAUG_HOST_DEVICE Index block() const { return (elements + blocks - 1) / blocks; }
    BUSAUG_HOST_DEVICE Index all_blocks() const { return images * blocks; }
    // Elements of one of all blocks; the last ones of an image may be short or empty.
    BUSAUG_HOST_DEVICE Index begin(Index index) const {
        return offset(index) + inside(index % blocks);
    }
    BUSAUG_HOST_DEVICE Index end(Index index) const {
        return offset(index) + inside(index % blocks + 1);
    }

  private:
    BUSAUG_HOST_DEVICE Index offset(Index index) const { return index / blocks * elements; }
    BUSAUG_HOST_DEVICE Index inside(Index blocks_before) const {
        const Index element = blocks_before * block();
        return element < elements ? element : elements;
    }
};

} // namespace busaug
