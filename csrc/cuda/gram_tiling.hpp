// A tile of F F^T on tensor cores: how a block lays it out, brings features to shared memory and
// accumulates products.
#pragma once

#include "block.hpp"
#include "busaug/api.hpp"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <mma.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace busaug {

// What one tensor-core product takes: 16 x depth by depth x 16, accumulated in float32. Half types
// are moved as bits.
template <class Feature> struct Product {
    using Operand = Feature;
    using Bits = std::uint16_t;
    static constexpr int depth = 16;
    __device__ static Bits rounded(Bits value) { return value; }
};
template <> struct Product<float> {
    using Operand = nvcuda::wmma::precision::tf32;
    using Bits = float;
    static constexpr int depth = 8;
    __device__ static float rounded(float value) { return nvcuda::wmma::__float_to_tf32(value); }
};

// How a block computes `tile` x `tile` entries. Operands lie in shared memory as features do in
// global memory: the positions of a channel together, or the channels of a position.
template <class Feature_, int tile_, bool channels_innermost_> struct Tiling {
    using Feature = Feature_;
    using Bits = typename Product<Feature>::Bits;
    static constexpr int tile = tile_;
    static constexpr bool channels_innermost = channels_innermost_;

    static constexpr int product = 16; // rows and columns of the matrix that one product gives
    static constexpr int vector = 4;   // elements moved together

    static constexpr int warps_across = tile / 32;
    static constexpr int threads =
        2 * warps_across * warp_size; // a warp: tile / 2 rows, 32 columns
    static constexpr int row_products = tile / 2 / product;
    static constexpr int column_products = 32 / product;

    // Operands: 64 bytes of each channel are a stage.
    static constexpr int positions = 64 / static_cast<int>(sizeof(Bits));
    static constexpr int rows = channels_innermost ? positions : tile;
    static constexpr int run = channels_innermost ? tile : positions;       // elements of a row
    static constexpr int pitch = run + 16 / static_cast<int>(sizeof(Bits)); // few bank conflicts
    static constexpr int operand = rows * pitch;
    static constexpr int vectors = rows * run / vector / threads; // of a thread
    static constexpr int row_step = vector * threads / run;       // from one to the next

    static constexpr int entry_pitch = tile + 4; // read by rows and by columns
    static constexpr std::size_t shared_bytes = std::max(
        4 * operand * sizeof(Bits), tile * entry_pitch * sizeof(float)); // two operands twice
};

// The first `count` of four elements, zero for the others. `aligned`: all four lie as vectors do.
template <class T> __device__ Pack<T, 4> load_vector(const T* address, int count, bool aligned) {
    if (aligned && count >= 4) {
        return *reinterpret_cast<const Pack<T, 4>*>(address);
    }
    Pack<T, 4> found{};
#pragma unroll
    for (int i = 0; i < 4; ++i) {
        if (i < count) {
            found.value[i] = address[i];
        }
    }
    return found;
}

// Some channels of an image on their way to shared memory, a stage of positions at a time. The
// vectors that a thread moves lie one below the other.
template <class Tiles> class Stage {
    using Bits = typename Tiles::Bits;
    static constexpr bool by_position = Tiles::channels_innermost;

  public:
    // From a channel and a position on.
    __device__ Stage(const Bits* features, const GramTask& task, int channel, Index position)
        : row_(static_cast<int>(Tiles::vector * threadIdx.x / Tiles::run)),
          column_(static_cast<int>(Tiles::vector * threadIdx.x % Tiles::run)),
          stride_(by_position ? task.channels : task.positions),
          at_(features + ((by_position ? position : channel) + row_) * stride_ +
              (by_position ? channel : position) + column_),
          channels_(static_cast<int>(task.channels) - channel) {}

    // The next stage, of which so many positions are there; zero beyond them and the last channel.
    __device__ void fetch(int positions, bool aligned) {
        const int rows = (by_position ? positions : channels_) - row_;
        const int columns = (by_position ? channels_ : positions) - column_;
        const Bits* at = at_;
#pragma unroll
        for (int i = 0; i < Tiles::vectors; ++i) {
            part_[i] = load_vector(at, i * Tiles::row_step < rows ? columns : 0, aligned);
            at += Tiles::row_step * stride_;
        }
        at_ += by_position ? Tiles::positions * stride_ : Tiles::positions;
    }
    __device__ void put(Bits* operand) const {
        Bits* const to = operand + row_ * Tiles::pitch + column_;
#pragma unroll
        for (int i = 0; i < Tiles::vectors; ++i) {
            Pack<Bits, Tiles::vector> rounded;
#pragma unroll
            for (int j = 0; j < Tiles::vector; ++j) {
                rounded.value[j] = Product<typename Tiles::Feature>::rounded(part_[i].value[j]);
            }
            *reinterpret_cast<Pack<Bits, Tiles::vector>*>(to + i * Tiles::row_step * Tiles::pitch) =
                rounded;
        }
    }

  private:
    int row_, column_; // of the thread's first vector in the operand
    Index stride_;
    const Bits* at_;
    int channels_; // from the first on
    Pack<Bits, Tiles::vector> part_[Tiles::vectors];
};

// A warp's share of the tile's entries.
template <class Tiles> class Accumulators {
    using Feature = typename Tiles::Feature;
    using Bits = typename Tiles::Bits;
    using Operand = typename Product<Feature>::Operand;
    using RowMajor = nvcuda::wmma::row_major;
    using ColumnMajor = nvcuda::wmma::col_major;
    static constexpr bool by_position = Tiles::channels_innermost;
    static constexpr int side = Tiles::product;
    static constexpr int depth = Product<Feature>::depth;
    template <class Use, class Layout>
    using Fragment = nvcuda::wmma::fragment<Use, side, side, depth, Operand, Layout>;
    using Left =
        Fragment<nvcuda::wmma::matrix_a, std::conditional_t<by_position, ColumnMajor, RowMajor>>;
    using Right =
        Fragment<nvcuda::wmma::matrix_b, std::conditional_t<by_position, RowMajor, ColumnMajor>>;
    using Sums = nvcuda::wmma::fragment<nvcuda::wmma::accumulator, side, side, depth, float>;

  public:
    __device__ Accumulators()
        : row_(group_rank(warp_size) / Tiles::warps_across * (Tiles::tile / 2)),
          column_(group_rank(warp_size) % Tiles::warps_across * 32) {
#pragma unroll
        for (int i = 0; i < Tiles::row_products; ++i) {
#pragma unroll
            for (int j = 0; j < Tiles::column_products; ++j) {
                nvcuda::wmma::fill_fragment(sums_[i][j], 0.0F);
            }
        }
    }
    // One stage of the channels of the tile's rows and of its columns.
    __device__ void add(const Bits* rows, const Bits* columns) {
#pragma unroll(sizeof(Bits) == sizeof(float) ? 1 : 2)
        for (int k = 0; k < Tiles::positions; k += depth) {
            Right right[Tiles::column_products];
#pragma unroll
            for (int j = 0; j < Tiles::column_products; ++j) {
                nvcuda::wmma::load_matrix_sync(right[j], at(columns, column_ + j * side, k),
                                               Tiles::pitch);
            }
#pragma unroll
            for (int i = 0; i < Tiles::row_products; ++i) {
                Left left;
                nvcuda::wmma::load_matrix_sync(left, at(rows, row_ + i * side, k), Tiles::pitch);
#pragma unroll
                for (int j = 0; j < Tiles::column_products; ++j) {
                    nvcuda::wmma::mma_sync(sums_[i][j], left, right[j], sums_[i][j]);
                }
            }
        }
    }
    __device__ void put(float* entries, int pitch) const {
#pragma unroll
        for (int i = 0; i < Tiles::row_products; ++i) {
#pragma unroll
            for (int j = 0; j < Tiles::column_products; ++j) {
                nvcuda::wmma::store_matrix_sync(
                    entries + (row_ + i * side) * pitch + column_ + j * side, sums_[i][j],
                    static_cast<unsigned>(pitch), nvcuda::wmma::mem_row_major);
            }
        }
    }

  private:
    __device__ static const Feature* at(const Bits* operand, int channel, int position) {
        return reinterpret_cast<const Feature*>(
            operand +
            (by_position ? position * Tiles::pitch + channel : channel * Tiles::pitch + position));
    }

    int row_, column_;
    Sums sums_[Tiles::row_products][Tiles::column_products];
};

} // namespace busaug
