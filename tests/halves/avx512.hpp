// Stand-ins for the instructions of AVX-512 that csrc/cpu/convolution_kernels.hpp takes, each by
// two of AVX2 on the halves of a vector, so that its text runs on a processor without them.
//
// Included before it. Another instruction in that text does not compile here.
#pragma once

#include <cassert>
#include <immintrin.h>

#if defined(__AVX512F__)
#error "compile with -mavx2 -mfma: this stands in for AVX-512"
#endif
#define __AVX512F__ 1

struct Halves {
    __m256 low, high;
};

inline Halves operator+(Halves x, Halves y) { return {x.low + y.low, x.high + y.high}; }
inline Halves operator-(Halves x, Halves y) { return {x.low - y.low, x.high - y.high}; }
inline Halves operator*(Halves x, Halves y) { return {x.low * y.low, x.high * y.high}; }

inline Halves set1(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
inline Halves loadu(const float* from) {
    return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)};
}

inline void storeu(float* to, Halves x) {
    _mm256_storeu_ps(to, x.low);
    // With a fault of its own the comparison has something to find.
#if defined(BUSAUG_FAULTY)
    _mm256_storeu_ps(to + 8, x.low);
#else
    _mm256_storeu_ps(to + 8, x.high);
#endif
}

inline Halves fmadd(Halves x, Halves y, Halves z) {
    return {_mm256_fmadd_ps(x.low, y.low, z.low), _mm256_fmadd_ps(x.high, y.high, z.high)};
}

// A mask has a bit an element there, and here all bits of the element.
template <int Predicate> Halves compared(Halves x, Halves y) {
    return {_mm256_cmp_ps(x.low, y.low, Predicate), _mm256_cmp_ps(x.high, y.high, Predicate)};
}

inline Halves masked(Halves mask, Halves x) {
    return {_mm256_and_ps(mask.low, x.low), _mm256_and_ps(mask.high, x.high)};
}

inline Halves larger_of(int mask, Halves x, Halves y) {
    assert(mask == 0xFFFF);
    return {_mm256_max_ps(x.low, y.low), _mm256_max_ps(x.high, y.high)};
}

#define __m512 Halves
#define _mm512_setzero_ps() set1(0.0F)
#define _mm512_set1_ps set1
#define _mm512_loadu_ps loadu
#define _mm512_storeu_ps storeu
#define _mm512_fmadd_ps fmadd
#define _mm512_cmp_ps_mask(x, y, predicate) compared<predicate>(x, y)
#define _mm512_maskz_mov_ps masked
#define _mm512_maskz_max_ps larger_of
