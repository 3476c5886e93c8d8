// Convolutions with constant weights: the parts that are compiled once for each instruction set,
// as their callers see them (winograd.cpp, pointwise.cpp).
//
// 3x3 kernels go by Winograd's minimal filtering, F(4x4, 3x3) of Lavin and Gray 2016
// (arXiv 1509.09308): a tile of 4x4 outputs is A^T [(G g G^T) . (B^T d B)] A of its 6x6 inputs d
// and the kernel g, with 36 products for a pair of channels in place of 144. The products of all
// tiles and channels are 36 matrix products. Interpolation points are 0, infinity, +-sqrt(1/2) and
// +-sqrt(2): reciprocal in pairs, so that nothing grows much, and roundings weigh less than with
// the usual 1 and 2 (on the choice: Barabasz et al. 2020, arXiv 1803.10986).
#pragma once

#include "busaug/macros.hpp"

#include <string>

namespace busaug {

// Rows and columns of a tile of inputs and of outputs, and what they are transformed to.
constexpr Index tile_inputs = 6;
constexpr Index tile_outputs = 4;
constexpr Index tile_points = tile_inputs * tile_inputs;

// Columns of a panel of a weight; channels come in multiples of it.
constexpr Index panel = 16;

// Position of a weight's row (of `depth`) and column in panels, [columns / panel][depth][panel].
inline Index in_panels(Index row, Index column, Index depth) {
    return (column / panel * depth + row) * panel + column % panel;
}

// One tile of inputs. Pixels beyond the image are zero; so are those where `gate` is not positive.
struct TileInput {
    const float* pixels; // of the image, [height][width][channels]
    const float* gate;   // likewise, or null
    Index height, width, channels;
    Index row, column; // of the tile's first pixel; may lie before the image
    float* points;     // of the tile: point p at points[p * point_stride + channel]
    Index point_stride;
};

// One tile of outputs; those beyond the image are left out.
struct TileOutput {
    const float* points; // as above
    Index point_stride;
    const float* bias; // [channels] or null
    float least;       // outputs below are raised to it
    float* pixels;     // of the image, [height][width][channels]
    Index height, width, channels;
    Index row, column;
};

// c = max(a b + bias + addend, least) for some rows, the addend zero where `addend_gate` is not
// positive. Each element of a b is a chain of fused
// multiply-adds in the order of the depth, so that it depends on its own row and column alone.
struct Product {
    Index rows, depth, columns;
    const float* a;           // [rows][depth]
    const float* b;           // panels
    const float* bias;        // [columns] or null
    const float* addend;      // [rows][columns] or null
    const float* addend_gate; // likewise
    float least;
    float* c; // [rows][columns]
};

// to = pixels where `gate` is positive, else zero. `count` is a multiple of a panel.
struct Gate {
    Index count;
    const float* pixels;
    const float* gate;
    float* to;
};

struct ConvolutionKernels {
    void (*gate)(const Gate&);
    void (*input)(const TileInput&);
    void (*product)(const Product&);
    void (*output)(const TileOutput&);
};

// Of a level of simd.hpp, or "auto"; null where there are none, for want of fused multiply-adds.
const ConvolutionKernels* convolution_kernels(const std::string& simd);

#if defined(BUSAUG_X86)
extern const ConvolutionKernels convolution_avx2, convolution_avx512;
#endif

// Likewise, or std::invalid_argument.
const ConvolutionKernels& required_kernels(const std::string& simd);
void check_channels(Index in, Index out);

// A thread's own memory, aligned to 64 bytes and kept: its pages would else be asked for anew in
// every layer. Null where there is none to be had.
float* scratch(Index size);

} // namespace busaug
