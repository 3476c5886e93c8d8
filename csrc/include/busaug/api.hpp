// What the bindings call. Raw pointers to dense arrays; no Python, no torch.
#pragma once

#include "busaug/macros.hpp"
#include "busaug/srad.hpp"

#include <string>

namespace busaug {

// Speckle-reducing anisotropic diffusion of a batch, linear intensities in and out.
//
//   images   Real[images][height][width]
//   regions  Index[images][4]: row, column, height, width of the homogeneous region in which q0 is
//            measured at the start of every iteration; null: q0 exp(-decay t) instead
//   output   Real[scales][images][height][width]: scale s is the image after (s+1) x iterations
//
// Throws std::invalid_argument for extents or options out of range.
struct SradParams {
    Index images, height, width;
    Index scales, iterations;
    double time_step;
    double q0, decay;
    SradForm form;
};

void check_srad(const SradParams& params);

// `simd` names a level of cpu/simd.hpp, or "auto" for the best of the machine. The result depends on
// neither it nor the number of threads.
template <class Real>
void srad_cpu(const SradParams& params, const Real* images, const Index* regions, Real* output,
              int threads, const std::string& simd);

// Only in a build with CUDA. Everything lies on `device`; work is queued on `stream` (a
// cudaStream_t) and not waited for. `output` is aligned to 16 bytes, and so is `workspace`, which
// holds srad_cuda_workspace bytes (none for images that stay on the chip). Throws
// std::runtime_error where CUDA refuses.
template <class Real> Index srad_cuda_workspace(const SradParams& params, int device);
template <class Real>
void srad_cuda(const SradParams& params, const Real* images, const Index* regions, Real* output,
               void* workspace, int device, void* stream);

} // namespace busaug
