// Kernels of convolution.hpp for the instruction set that the file which includes this is compiled
// for. Nothing here may leave that file: it would run on machines that lack the instructions.
#pragma once

#include "convolution.hpp"

#include <immintrin.h>

namespace busaug {
namespace {

#if defined(__AVX512F__)
using Vector = __m512;
BUSAUG_INLINE Vector zero() { return _mm512_setzero_ps(); }
BUSAUG_INLINE Vector all(float value) { return _mm512_set1_ps(value); }
BUSAUG_INLINE Vector load(const float* from) { return _mm512_loadu_ps(from); }
BUSAUG_INLINE void store(float* to, Vector x) { _mm512_storeu_ps(to, x); }
BUSAUG_INLINE Vector multiply_add(Vector x, Vector y, Vector z) { return _mm512_fmadd_ps(x, y, z); }
// x where y is positive, else zero
BUSAUG_INLINE Vector gated(Vector x, Vector y) {
    return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(y, zero(), _CMP_GT_OQ), x);
}
// y where either is NaN. Masked, since gcc 12 warns of the plain one's undefined start (PR 105593).
BUSAUG_INLINE Vector larger(Vector x, Vector y) { return _mm512_maskz_max_ps(0xFFFF, x, y); }
#else
using Vector = __m256;
BUSAUG_INLINE Vector zero() { return _mm256_setzero_ps(); }
BUSAUG_INLINE Vector all(float value) { return _mm256_set1_ps(value); }
BUSAUG_INLINE Vector load(const float* from) { return _mm256_loadu_ps(from); }
BUSAUG_INLINE void store(float* to, Vector x) { _mm256_storeu_ps(to, x); }
BUSAUG_INLINE Vector multiply_add(Vector x, Vector y, Vector z) { return _mm256_fmadd_ps(x, y, z); }
BUSAUG_INLINE Vector gated(Vector x, Vector y) {
    return _mm256_and_ps(x, _mm256_cmp_ps(y, zero(), _CMP_GT_OQ));
}
BUSAUG_INLINE Vector larger(Vector x, Vector y) { return _mm256_max_ps(x, y); }
#endif

constexpr Index vector_width = sizeof(Vector) / sizeof(float);

void gate(const Gate& task) {
    for (Index i = 0; i < task.count; i += vector_width) {
        store(task.to + i, gated(load(task.pixels + i), load(task.gate + i)));
    }
}

// B^T x for six vectors x, B^T of the points 0, +-sqrt(1/2), +-sqrt(2), infinity.
BUSAUG_INLINE void spread(const Vector (&x)[6], Vector (&to)[6]) {
    const Vector half = all(0.5F), two = all(2.0F), sum = all(2.5F);
    const Vector even = x[4] - two * x[2];
    const Vector odd = all(0.70710678118654752440F) * (x[3] - two * x[1]);
    const Vector far_even = x[4] - half * x[2];
    const Vector far_odd = all(1.41421356237309504880F) * (x[3] - half * x[1]);
    to[0] = x[0] - sum * x[2] + x[4];
    to[1] = even + odd;
    to[2] = even - odd;
    to[3] = far_even + far_odd;
    to[4] = far_even - far_odd;
    to[5] = x[1] - sum * x[3] + x[5];
}

// A^T x likewise, six vectors to four.
BUSAUG_INLINE void gather(const Vector (&x)[6], Vector (&to)[4]) {
    const Vector half = all(0.5F), two = all(2.0F);
    const Vector even = x[1] + x[2];
    const Vector odd = all(0.70710678118654752440F) * (x[1] - x[2]);
    const Vector far_even = x[3] + x[4];
    const Vector far_odd = all(1.41421356237309504880F) * (x[3] - x[4]);
    to[0] = x[0] + even + far_even;
    to[1] = odd + far_odd;
    to[2] = half * even + two * far_even;
    to[3] = half * odd + two * far_odd + x[5];
}

// Some channels of one pixel, or zeros.
template <bool Gated>
BUSAUG_INLINE Vector pixel(const TileInput& tile, Index row, Index column, Index channel) {
    if (row < 0 || row >= tile.height || column < 0 || column >= tile.width) {
        return zero();
    }
    const Index at = (row * tile.width + column) * tile.channels + channel;
    const Vector found = load(tile.pixels + at);
    return Gated ? gated(found, load(tile.gate + at)) : found;
}

template <bool Gated> BUSAUG_INLINE void transform_pixels(const TileInput& tile) {
    for (Index channel = 0; channel < tile.channels; channel += vector_width) {
        Vector rows[6][6];
        for (Index i = 0; i < 6; ++i) {
            Vector pixels[6];
            for (Index j = 0; j < 6; ++j) {
                pixels[j] = pixel<Gated>(tile, tile.row + i, tile.column + j, channel);
            }
            spread(pixels, rows[i]);
        }
        for (Index j = 0; j < 6; ++j) {
            Vector column[6];
            spread({rows[0][j], rows[1][j], rows[2][j], rows[3][j], rows[4][j], rows[5][j]},
                   column);
            for (Index i = 0; i < 6; ++i) {
                store(tile.points + (6 * i + j) * tile.point_stride + channel, column[i]);
            }
        }
    }
}

void transform_input(const TileInput& tile) {
    if (tile.gate == nullptr) {
        transform_pixels<false>(tile);
    } else {
        transform_pixels<true>(tile);
    }
}

void transform_output(const TileOutput& tile) {
    const Index height = tile.height - tile.row < 4 ? tile.height - tile.row : 4;
    const Index width = tile.width - tile.column < 4 ? tile.width - tile.column : 4;
    for (Index channel = 0; channel < tile.channels; channel += vector_width) {
        const Vector bias = tile.bias == nullptr ? zero() : load(tile.bias + channel);
        Vector columns[6][4]; // of four rows
        for (Index j = 0; j < 6; ++j) {
            Vector column[6];
            for (Index i = 0; i < 6; ++i) {
                column[i] = load(tile.points + (6 * i + j) * tile.point_stride + channel);
            }
            gather(column, columns[j]);
        }
        for (Index i = 0; i < height; ++i) {
            Vector outputs[4];
            gather({columns[0][i], columns[1][i], columns[2][i], columns[3][i], columns[4][i],
                    columns[5][i]},
                   outputs);
            for (Index j = 0; j < width; ++j) {
                const Index at = (tile.row + i) * tile.width + tile.column + j;
                store(tile.pixels + at * tile.channels + channel,
                      larger(all(tile.least), outputs[j] + bias));
            }
        }
    }
}

// Rows and vectors of a block of a product: its sums, the vectors of b and a broadcast of a fill
// the registers.
constexpr int block_rows = vector_width == 16 ? 12 : 6;
constexpr int block_vectors = 2;

template <int Rows, int Vectors>
BUSAUG_INLINE void product_block(const Product& task, Index row, Index column) {
    const float* const a = task.a + row * task.depth;
    const float* b[Vectors];
    Vector sums[Rows][Vectors];
    for (int v = 0; v < Vectors; ++v) {
        b[v] = task.b + in_panels(0, column + v * vector_width, task.depth);
        for (int i = 0; i < Rows; ++i) {
            sums[i][v] = zero();
            // Far apart in memory: without a hint each would be waited for.
            const Index at = (row + i) * task.columns + column + v * vector_width;
            __builtin_prefetch(task.c + at, 1);
            if (task.addend != nullptr) {
                __builtin_prefetch(task.addend + at);
            }
            if (task.addend_gate != nullptr) {
                __builtin_prefetch(task.addend_gate + at);
            }
        }
    }
    for (Index k = 0; k < task.depth; ++k) {
        Vector right[Vectors];
        for (int v = 0; v < Vectors; ++v) {
            right[v] = load(b[v] + k * panel);
        }
        for (int i = 0; i < Rows; ++i) {
            const Vector left = all(a[i * task.depth + k]);
            for (int v = 0; v < Vectors; ++v) {
                sums[i][v] = multiply_add(left, right[v], sums[i][v]);
            }
        }
    }
    for (int v = 0; v < Vectors; ++v) {
        const Index from = column + v * vector_width;
        const Vector bias = task.bias == nullptr ? zero() : load(task.bias + from);
        for (int i = 0; i < Rows; ++i) {
            const Index at = (row + i) * task.columns + from;
            Vector sum = sums[i][v] + bias;
            if (task.addend != nullptr) {
                const Vector addend = load(task.addend + at);
                sum = sum + (task.addend_gate == nullptr
                                 ? addend
                                 : gated(addend, load(task.addend_gate + at)));
            }
            store(task.c + at, larger(all(task.least), sum));
        }
    }
}

// The rows from `row` on, which are fewer than a block's.
template <int Rows, int Vectors>
BUSAUG_INLINE void product_rest(const Product& task, Index row, Index column) {
    if constexpr (Rows > 0) {
        if (task.rows - row == Rows) {
            product_block<Rows, Vectors>(task, row, column);
        } else {
            product_rest<Rows - 1, Vectors>(task, row, column);
        }
    }
}

template <int Vectors> void product_stripe(const Product& task, Index column) {
    Index row = 0;
    for (; row + block_rows <= task.rows; row += block_rows) {
        product_block<block_rows, Vectors>(task, row, column);
    }
    product_rest<block_rows - 1, Vectors>(task, row, column);
}

void product(const Product& task) {
    constexpr Index step = block_vectors * vector_width;
    Index column = 0;
    for (; column + step <= task.columns; column += step) {
        product_stripe<block_vectors>(task, column);
    }
    for (; column < task.columns; column += vector_width) {
        product_stripe<1>(task, column);
    }
}

} // namespace
} // namespace busaug
