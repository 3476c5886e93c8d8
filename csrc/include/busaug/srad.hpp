// Speckle-reducing anisotropic diffusion (Yu & Acton 2002, IEEE TIP 11(11):1260): the maths of one
// pixel and the border, read by the CPU loops and the CUDA kernels alike.
//
// The paper's instantaneous coefficient of variation q is written without a division by the pixel.
// With d_* = neighbour - centre J, L = sum of d_*, G = sum of d_*^2:
//
//     q^2 = (G/2 - L^2/16) / (J + L/4)^2 = n / m
//
// where J + L/4 is the mean of the four neighbours. By Cauchy's inequality L^2 <= 4 G, hence
// n >= G/4: q^2 is never negative and needs no clip. The diffusion coefficient saturates to 1 where
// q^2 <= q0^2; elsewhere n > 0, so that neither form below divides zero by zero, whatever J is.
//
//     form 1:  c = 1 / (1 + (q^2 - q0^2) / (q0^2 (1 + q0^2))) = k m / (q0^4 m + n)
//     form 2:  c = exp(-(q^2 - q0^2) / (q0^2 (1 + q0^2)))     = exp(-(n - q0^2 m) / (k m))
//
// with k = q0^2 (1 + q0^2).
#pragma once

#include "busaug/elementary.hpp"
#include "busaug/macros.hpp"

namespace busaug {

enum class SradForm { rational = 1, exponential = 2 };

// Replicated borders: the neighbour outside is the border pixel itself.
template <class Integer> BUSAUG_HOST_DEVICE BUSAUG_INLINE Integer before(Integer i) {
    return i > 0 ? i - 1 : 0;
}
template <class Integer> BUSAUG_HOST_DEVICE BUSAUG_INLINE Integer after(Integer i, Integer extent) {
    return i + 1 < extent ? i + 1 : i;
}

// What the speckle scale q0 contributes to every pixel of one iteration.
template <class Real> struct SpeckleTerms {
    Real q0_2;  // q0^2
    Real q0_4;  // q0^4
    Real scale; // k
};

template <class Real>
BUSAUG_HOST_DEVICE BUSAUG_INLINE SpeckleTerms<Real> speckle_terms(double q0_squared) {
    return {static_cast<Real>(q0_squared), static_cast<Real>(q0_squared * q0_squared),
            static_cast<Real>(q0_squared * (1.0 + q0_squared))};
}

// q0^2 of a region from sums over its pixels relative to one of them (`origin`), which keeps the
// variance of a constant region at exactly zero. The variance divides by count - correction. A
// region of mean zero, or of one pixel, has no speckle.
BUSAUG_HOST_DEVICE BUSAUG_INLINE double region_q0_squared(double origin, double sum,
                                                          double sum_of_squares, Index count,
                                                          Index correction = 0) {
    const double shift = sum / static_cast<double>(count);
    const double mean = origin + shift;
    const double squares = sum_of_squares - sum * shift;
    const double variance =
        squares / static_cast<double>(count > correction ? count - correction : 1);
    return mean > 0.0 && variance > 0.0 ? variance / (mean * mean) : 0.0;
}

// Squared q0 exp(-decay t) at the start of an iteration, t = iteration x time_step.
BUSAUG_HOST_DEVICE BUSAUG_INLINE double decayed_q0_squared(double q0, double decay,
                                                           double time_step, Index iteration) {
    const double now = q0 * exponential(-decay * time_step * static_cast<double>(iteration));
    return now * now;
}

// Log-compressed pixels I of [low, high] as intensities J = exp((I - low) / (high - low)) and back.
// Diffusion keeps to the range of its input: what leaves [low, high] on the way back is rounding.
template <class Real> struct Compression {
    Real low, high, span;

    BUSAUG_HOST_DEVICE BUSAUG_INLINE Compression(Real lowest, Real highest)
        : low(lowest), high(highest), span(highest > lowest ? highest - lowest : Real(1)) {}

    BUSAUG_HOST_DEVICE BUSAUG_INLINE Real intensity(Real pixel) const {
        return exponential((pixel - low) / span);
    }
    BUSAUG_HOST_DEVICE BUSAUG_INLINE Real pixel(Real intensity) const {
        const Real value = low + span * logarithm(intensity);
        const Real above = value > low ? value : low;
        return above < high ? above : high;
    }
};

// A pixel and its four neighbours.
template <class Real> struct Stencil {
    Real centre, north, south, west, east;
};

template <SradForm form, class Real>
BUSAUG_HOST_DEVICE BUSAUG_INLINE Real diffusion_coefficient(const Stencil<Real>& j,
                                                            const SpeckleTerms<Real>& speckle) {
    const Real north = j.north - j.centre;
    const Real south = j.south - j.centre;
    const Real west = j.west - j.centre;
    const Real east = j.east - j.centre;
    const Real laplacian = (north + south) + (west + east);
    const Real gradient = (north * north + south * south) + (west * west + east * east);
    const Real n = Real(0.5) * gradient - Real(0.0625) * (laplacian * laplacian);
    const Real mean = j.centre + Real(0.25) * laplacian;
    const Real m = mean * mean;
    const Real excess = n - speckle.q0_2 * m;
    if constexpr (form == SradForm::rational) {
        const Real c = speckle.scale * m / (speckle.q0_4 * m + n);
        return excess > Real(0) ? c : Real(1);
    } else {
        const Real c = exponential(-(excess / (speckle.scale * m)));
        return excess > Real(0) ? c : Real(1);
    }
}

// The pixel after one iteration. The flux between two pixels uses the coefficient of the southern
// or eastern one and enters both with opposite signs: the mean of the image is kept.
// `step` is time_step / 4.
template <class Real>
BUSAUG_HOST_DEVICE BUSAUG_INLINE Real diffused(const Stencil<Real>& j, Real c, Real c_south,
                                               Real c_east, Real step) {
    const Real divergence = (c * (j.north - j.centre) + c_south * (j.south - j.centre)) +
                            (c * (j.west - j.centre) + c_east * (j.east - j.centre));
    return j.centre + step * divergence;
}

} // namespace busaug
