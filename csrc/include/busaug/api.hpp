// What the bindings call. Raw pointers to dense arrays; no Python, no torch.
#pragma once

#include "busaug/lrp.hpp"
#include "busaug/macros.hpp"
#include "busaug/srad.hpp"

#include <string>

namespace busaug {

// Speckle-reducing anisotropic diffusion of a batch. Throws std::invalid_argument for extents or
// options out of range.
struct SradParams {
    Index images, height, width;
    Index scales, iterations;
    double time_step;
    double q0, decay;
    SradForm form;
    Index correction; // a measured variance divides by the number of pixels less this, 0 or 1
};

//   images   Real[images][height][width]
//   regions  Index[images][4]: row, column, height, width of the homogeneous region in which q0 is
//            measured at the start of every iteration; null: q0 exp(-decay t) instead
//   ranges   Real[images][2]: lowest and highest pixel of log-compressed images, see Compression;
//            null: the images are intensities
//   output   Real[scales][images][height][width]: scale s is the image after (s+1) x iterations
template <class Real> struct SradArrays {
    const Real* images;
    const Index* regions;
    const Real* ranges;
    Real* output;
};

void check_srad(const SradParams& params);

// `simd` names a level of cpu/simd.hpp, or "auto" for the best of the machine. The result depends
// on neither it nor the number of threads. Takes the memory of one image for each thread that works
// on an image of its own, or for all of them together.
template <class Real>
void srad_cpu(const SradParams& params, const SradArrays<Real>& arrays, int threads,
              const std::string& simd);

// Only in a build with CUDA. Everything lies on `device`; work is queued on `stream` (a
// cudaStream_t) and not waited for. `output` is aligned to 16 bytes, and so is `workspace`, which
// holds srad_cuda_workspace bytes (none for images that stay on the chip). Throws
// std::runtime_error where CUDA refuses.
template <class Real> Index srad_cuda_workspace(const SradParams& params, int device);
template <class Real>
void srad_cuda(const SradParams& params, const SradArrays<Real>& arrays, void* workspace,
               int device, void* stream);

// The window of each image in which the intensities vary least, where q0 is best measured.
//
// Windows of 32x32 pixels (less where the image is smaller) start at every eighth row and column.
// Of those whose mean lies between the 20th and the 80th percentile of all means, the one with the
// least standard deviation relative to its mean is taken, the first in reading order. Windows with
// next to no variation (padding, clipped shadow) count only where there are no others.
//
//   images   Real[images][height][width]
//   ranges   as in SradArrays
//   regions  Index[images][4]: row, column, height, width
template <class Real> struct QuietRegions {
    Index images, height, width;
    const Real* pixels;
    const Real* ranges;
    Index* regions;
};
template <class Real>
void quiet_regions_cpu(const QuietRegions<Real>& task, int threads, const std::string& simd);

// exp and log of elementary.hpp over arrays, so that tests can measure their error.
enum class Elementary { exponential, logarithm };
template <class Real>
void elementary_cpu(Elementary function, Index count, const Real* input, Real* output,
                    const std::string& simd);

// The style loss in its Gram form, all but the matrix products. N = channels, M = positions.
//
//   products    Real[]: the lower triangle of F F^T in row blocks of `block` rows, see row_block
//   target      Real[images][N][N], symmetric; its lower triangle is read
//   difference  Real[images][N][N]: F F^T / M - target, whole
//   loss        Real[images]: ||difference||_F^2 / (4 N^2)
//
// Throws std::invalid_argument for extents out of range. Threads and `simd` as for srad_cpu.
struct GramDifferenceParams {
    Index images, channels, positions;
    Index block;
};

void check_gram_difference(const GramDifferenceParams& params);

template <class Real>
void gram_difference_cpu(const GramDifferenceParams& params, const Real* products,
                         const Real* target, Real* difference, Real* loss, int threads,
                         const std::string& simd);

// output[i] = sum of x[i][k] y[i][k] over k, for Real[images][count] twice; x and y may be one.
template <class Real>
void inner_products_cpu(Index images, Index count, const Real* x, const Real* y, double* output,
                        int threads, const std::string& simd);

// The Gram form of the style loss on a device, matrix products and all. N = channels, M =
// positions.
//
//   features    [images][N][M], or [images][M][N] where channels lie innermost. Products of float32
//               are taken of their roundings to TF32; all sums are float32
//   target      [images][N][N], symmetric; its lower triangle is read
//   difference  [images][N][N]: F F^T / M - target, whole
//   loss        [images]: ||difference||_F^2 / (4 N^2)
//
// An image's result depends on no other. Only in a build with CUDA; device, stream, workspace and
// errors as for srad_cuda.
enum class FeatureType { float32, float16, bfloat16 };

struct GramTask {
    Index images, channels, positions;
    FeatureType type;
    bool channels_innermost;
};

struct GramArrays {
    const void* features;
    const float* target;
    float* difference;
    float* loss;
};

Index gram_difference_cuda_workspace(const GramTask& task);
void gram_difference_cuda(const GramTask& task, const GramArrays& arrays, void* workspace,
                          int device, void* stream);

// Convolutions of stride one with constant weights, float32, channels last. The CPU alone, where
// `has_convolutions`. An output depends neither on the other images nor on the number of threads
// nor on the instruction set. Channels are multiples of 16; throws std::invalid_argument for others
// and for extents out of range.
//
//   images  [images][height][width][channels_in]
//   gate    likewise: images count as zero where it is not positive; null: nowhere
//   packed  what the function that packs made of the weight
//   bias    [channels_out] or null
//   addend  [images][height][width][channels_out], added; or null. With a gate of its own likewise
//   output  likewise; not below zero with `rectify`
bool has_convolutions(const std::string& simd);

// A weight is [out][in][k][k]. Packed with `transposed` it is that of the convolution's gradient,
// from `out` channels to `in`.
struct ConvolutionWeight {
    Index out, in;
};

// 3x3 kernels over an image with a border of one zero, by Winograd's minimal filtering
// (cpu/convolution.hpp): a quarter to a half of the products. Packed: float[36 in out].
struct WinogradParams {
    Index images, height, width;
    Index channels_in, channels_out;
    bool rectify;
};

struct WinogradArrays {
    const float* images;
    const float* gate;
    const float* packed;
    const float* bias;
    float* output;
};

void winograd_pack(const ConvolutionWeight& extent, const float* weight, bool transposed,
                   float* packed);
void winograd_cpu(const WinogradParams& params, const WinogradArrays& arrays, int threads,
                  const std::string& simd);

// 1x1 kernels. Packed: float[in out].
struct PointwiseParams {
    Index pixels; // of all images
    Index channels_in, channels_out;
    bool rectify;
};

struct PointwiseArrays {
    const float* images;
    const float* gate;
    const float* packed;
    const float* bias;
    const float* addend;
    const float* addend_gate;
    float* output;
};

void pointwise_pack(const ConvolutionWeight& extent, const float* weight, bool transposed,
                    float* packed);
void pointwise_cpu(const PointwiseParams& params, const PointwiseArrays& arrays, int threads,
                   const std::string& simd);

// Where a step of relevance propagation runs. On the CPU the result depends on neither the number
// of threads nor `simd`, a level of cpu/simd.hpp or "auto" for the best of the machine. On CUDA
// (only in a build with it) everything lies on `device`, and work is queued on `stream` and not
// waited for; std::runtime_error where CUDA refuses.
struct OnCpu {
    int threads;
    std::string simd;
};
struct OnCuda {
    int device;
    void* stream; // a cudaStream_t
};

// Steps of layer-wise relevance propagation by the alpha-beta rule (busaug/lrp.hpp); the matrix
// products between them are the caller's. Arrays are dense and do not overlap. The functions throw
// std::invalid_argument for extents or options out of range.
struct LrpRule {
    double alpha, beta; // alpha - beta = 1, beta >= 0
    double rounding;    // of linear - positive, relative to positive
    bool zero_part, absorb_bias;
    LrpFactor factor;
    int parts; // quotients written: 2, or 1 for the positive one alone
};

void check_lrp(const LrpUnits& units);
void check_lrp(const LrpRule& rule);
void check_lrp(const LrpImages& extent);

// Real[outer][channels][inner] each; bias Real[channels].
template <class Real> struct LrpLayer {
    const Real* positive;
    const Real* linear;
    const Real* bias;
    const Real* factor;
};

// Fills `quotients`, Real[outer][parts][channels][inner]. With one part the result is the number of
// negative quotients other than zero that were left out. On CUDA, where a number to return would
// have to be waited for, parts is 2 and the result 0.
template <class Real>
Index lrp_quotients(const LrpUnits& units, const LrpRule& rule, const LrpLayer<Real>& layer,
                    Real* quotients, const OnCpu& where);
template <class Real>
Index lrp_quotients(const LrpUnits& units, const LrpRule& rule, const LrpLayer<Real>& layer,
                    Real* quotients, const OnCuda& where);

// output = max(left + right + bias, 0); right may be null.
template <class Real>
void lrp_rectified_sum(const LrpUnits& units, const Real* left, const Real* right, const Real* bias,
                       Real* output, const OnCpu& where);
template <class Real>
void lrp_rectified_sum(const LrpUnits& units, const Real* left, const Real* right, const Real* bias,
                       Real* output, const OnCuda& where);

// Inputs of any sign to Real[outer][2][channels][inner], their positive and negative magnitudes.
template <class Real>
void lrp_split(const LrpUnits& units, const Real* inputs, Real* split, const OnCpu& where);
template <class Real>
void lrp_split(const LrpUnits& units, const Real* inputs, Real* split, const OnCuda& where);

// What comes back to the two, Real[outer][2][channels][inner], as what comes back to the inputs.
template <class Real>
void lrp_merge(const LrpUnits& units, const Real* inputs, const Real* back, Real* merged,
               const OnCpu& where);
template <class Real>
void lrp_merge(const LrpUnits& units, const Real* inputs, const Real* back, Real* merged,
               const OnCuda& where);

// product = left x right, Real[images][elements], and LrpSums[images][blocks] of it.
template <class Real>
void lrp_product(const LrpImages& extent, const Real* left, const Real* right, Real* product,
                 LrpSums* sums, const OnCpu& where);
template <class Real>
void lrp_product(const LrpImages& extent, const Real* left, const Real* right, Real* product,
                 LrpSums* sums, const OnCuda& where);

} // namespace busaug
