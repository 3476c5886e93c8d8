// Exponential and logarithm in plain arithmetic, so that the compiler vectorises the loops that
// call them and every instruction set, and a CUDA device, gives the same bits; a call of the C
// library would do neither.
//
// Both take out the power of two exactly and sum a series for what is left: exp(r), |r| <= ln(2)/2,
// by Taylor, and log((1 + s) / (1 - s)) = 2 (s + s^3/3 + s^5/5 + ...), |s| <= 0.172. The series end
// where the rest is below a tenth of a unit in the last place.
#pragma once

#include "busaug/macros.hpp"

#include <cstring>

namespace busaug {
namespace elementary {

// An IEEE type: its layout and the series that suffice for it.
template <class Real> struct Format;

template <> struct Format<float> {
    using Bits = std::uint32_t;
    static constexpr int mantissa = 23;
    static constexpr Bits bias = 127;
    static constexpr float shift = 0x1.8p23F;       // x + shift - shift rounds x to an integer
    static constexpr float ln2_high = 0x1.62e4p-1F; // times an exponent: exact
    static constexpr float ln2_low = 0x1.7f7d1cp-20F;
    static constexpr float lowest = -0x1.5d589ep6F; // log of the least normal number, towards 0
    static constexpr int taylor_degree = 7;
    static constexpr int odd_terms = 5;
};

template <> struct Format<double> {
    using Bits = std::uint64_t;
    static constexpr int mantissa = 52;
    static constexpr Bits bias = 1023;
    static constexpr double shift = 0x1.8p52;
    static constexpr double ln2_high = 0x1.62e42fefa4p-1;
    static constexpr double ln2_low = -0x1.8432a1b0e2634p-43;
    static constexpr double lowest = -0x1.6232bdd7abcd1p9;
    static constexpr int taylor_degree = 13;
    static constexpr int odd_terms = 10;
};

template <class Real>
BUSAUG_HOST_DEVICE BUSAUG_INLINE typename Format<Real>::Bits bits_of(Real value) {
    typename Format<Real>::Bits bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}

template <class Real>
BUSAUG_HOST_DEVICE BUSAUG_INLINE Real real_of(typename Format<Real>::Bits bits) {
    Real value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

BUSAUG_HOST_DEVICE constexpr double factorial(int n) { return n < 2 ? 1.0 : n * factorial(n - 1); }

// 1/k! + r/(k+1)! + ..., up to the last power.
template <class Real, int k = 0> BUSAUG_HOST_DEVICE BUSAUG_INLINE Real taylor(Real r) {
    constexpr Real coefficient = static_cast<Real>(1.0 / factorial(k));
    if constexpr (k == Format<Real>::taylor_degree) {
        return coefficient;
    } else {
        return coefficient + r * taylor<Real, k + 1>(r);
    }
}

// 1/(2k+1) + z/(2k+3) + ..., up to the last term.
template <class Real, int k = 1> BUSAUG_HOST_DEVICE BUSAUG_INLINE Real odd_series(Real z) {
    constexpr Real coefficient = static_cast<Real>(1.0 / (2 * k + 1));
    if constexpr (k == Format<Real>::odd_terms) {
        return coefficient;
    } else {
        return coefficient + z * odd_series<Real, k + 1>(z);
    }
}

} // namespace elementary

// e^x for x up to log of the largest number, -infinity included. Results below the least normal
// number are 0.
template <class Real> BUSAUG_HOST_DEVICE BUSAUG_INLINE Real exponential(Real x) {
    using Format = elementary::Format<Real>;
    constexpr Real log2_e = static_cast<Real>(1.4426950408889634);
    const Real shifted = x * log2_e + Format::shift; // its last bits are the exponent n
    const Real n = shifted - Format::shift;
    const Real r = (x - n * Format::ln2_high) - n * Format::ln2_low;
    const Real scaled = elementary::real_of<Real>(
        elementary::bits_of(elementary::taylor(r)) +
        (elementary::bits_of(shifted) << static_cast<unsigned>(Format::mantissa)));
    return x < Format::lowest ? Real(0) : scaled;
}

// Natural logarithm of a positive, normal number.
template <class Real> BUSAUG_HOST_DEVICE BUSAUG_INLINE Real logarithm(Real x) {
    using Format = elementary::Format<Real>;
    constexpr Real root_half = static_cast<Real>(0.70710678118654752);
    constexpr auto mantissa = static_cast<unsigned>(Format::mantissa);
    const auto one = Format::bias << mantissa;
    // x = m 2^n with m from sqrt(1/2) to sqrt(2); the exponent with its bias is never negative
    const auto biased = (elementary::bits_of(x) - elementary::bits_of(root_half) + one) >> mantissa;
    const Real m = elementary::real_of<Real>(elementary::bits_of(x) + one - (biased << mantissa));
    const Real n = elementary::real_of<Real>(elementary::bits_of(Format::shift) + biased) -
                   (Format::shift + static_cast<Real>(Format::bias));
    // 2 s is written f - s f, because f has no rounding
    const Real f = m - Real(1);
    const Real s = f / (m + Real(1));
    const Real z = s * s;
    const Real log_m = f - s * (f - Real(2) * z * elementary::odd_series(z));
    return n * Format::ln2_high + (n * Format::ln2_low + log_m);
}

} // namespace busaug
