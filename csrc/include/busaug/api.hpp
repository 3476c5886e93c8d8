// What the bindings call. Raw pointers to dense arrays; no Python, no torch.
#pragma once

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

} // namespace busaug
