// Products of whole warps. Fragments are opaque on a device; here lane 0 holds all of one and does
// the work, when its turn comes: what other lanes wrote has to be there by a barrier.
#pragma once

#include "cuda_bf16.h"
#include "cuda_fp16.h"
#include "cuda_runtime.h"

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

namespace nvcuda::wmma {

struct matrix_a;
struct matrix_b;
struct accumulator;
struct row_major;
struct col_major;
enum layout_t { mem_row_major, mem_col_major };

namespace precision {
struct tf32 { // a float of which the device reads the first 19 bits
    static float read(float value) {
        std::uint32_t bits;
        std::memcpy(&bits, &value, sizeof bits);
        bits &= ~std::uint32_t{0x1fff};
        std::memcpy(&value, &bits, sizeof bits);
        return value;
    }
};
} // namespace precision

// To the nearest, ties away from zero.
inline float __float_to_tf32(float value) {
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if ((bits & 0x7f800000U) != 0x7f800000U) {
        bits += 0x1000;
    }
    std::memcpy(&value, &bits, sizeof bits);
    return precision::tf32::read(value);
}

// Of m x k, k x n or m x n elements.
template <class Use, int m, int n, int k, class T, class Layout = void> struct fragment {
    static constexpr bool left = std::is_same_v<Use, matrix_a>;
    static constexpr bool right = std::is_same_v<Use, matrix_b>;
    static constexpr int rows = right ? k : m;
    static constexpr int columns = left ? k : n;

    fragment() {
        for (auto& row : whole) {
            for (float& value : row) {
                value = std::numeric_limits<float>::quiet_NaN();
            }
        }
    }
    float whole[rows][columns];
};

template <class T> void check(const T* address, unsigned pitch) {
    if (reinterpret_cast<std::uintptr_t>(address) % 32 != 0 || pitch * sizeof(T) % 16 != 0) {
        emulator::fail("a matrix of a warp is not aligned");
    }
}

template <class Use, int m, int n, int k, class T, class Layout>
void fill_fragment(fragment<Use, m, n, k, T, Layout>& filled, float value) {
    for (auto& row : filled.whole) {
        for (float& each : row) {
            each = value;
        }
    }
}

template <class Use, int m, int n, int k, class T, class Layout, class Stored>
void load_matrix_sync(fragment<Use, m, n, k, T, Layout>& loaded, const Stored* from,
                      unsigned pitch) {
    check(from, pitch);
    if (emulator::lane() != 0) {
        return;
    }
    using Fragment = fragment<Use, m, n, k, T, Layout>;
    constexpr bool by_rows = std::is_same_v<Layout, row_major>;
    for (unsigned row = 0; row < Fragment::rows; ++row) {
        for (unsigned column = 0; column < Fragment::columns; ++column) {
            const Stored value = from[by_rows ? row * pitch + column : column * pitch + row];
            if constexpr (std::is_same_v<T, precision::tf32>) {
                loaded.whole[row][column] = precision::tf32::read(value);
            } else {
                static_assert(std::is_same_v<T, Stored>);
                loaded.whole[row][column] = emulator::value_of(value);
            }
        }
    }
}

// Most of the emulation's work is here, on fragments alone.
template <int m, int n, int k, class T, class LeftLayout, class RightLayout>
__attribute__((optimize("O2"), no_sanitize_address)) void
mma_sync(fragment<accumulator, m, n, k, float>& result,
         const fragment<matrix_a, m, n, k, T, LeftLayout>& left,
         const fragment<matrix_b, m, n, k, T, RightLayout>& right,
         const fragment<accumulator, m, n, k, float>& sum) {
    if (emulator::lane() != 0) {
        return;
    }
    for (int row = 0; row < m; ++row) {
        for (int column = 0; column < n; ++column) {
            float total = sum.whole[row][column];
            for (int i = 0; i < k; ++i) {
                total += left.whole[row][i] * right.whole[i][column];
            }
            result.whole[row][column] = total;
        }
    }
}

template <int m, int n, int k>
void store_matrix_sync(float* to, const fragment<accumulator, m, n, k, float>& stored,
                       unsigned pitch, layout_t layout) {
    check(to, pitch);
    if (emulator::lane() != 0) {
        return;
    }
    for (unsigned row = 0; row < m; ++row) {
        for (unsigned column = 0; column < n; ++column) {
            to[layout == mem_row_major ? row * pitch + column : column * pitch + row] =
                stored.whole[row][column];
        }
    }
}

} // namespace nvcuda::wmma
