// Qualifiers that let one text serve the host compiler and nvcc.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define BUSAUG_HOST_DEVICE __host__ __device__
#else
#define BUSAUG_HOST_DEVICE
#endif

#if defined(__GNUC__) || defined(__clang__)
#define BUSAUG_INLINE inline __attribute__((always_inline))
#define BUSAUG_RESTRICT __restrict__
#else
#define BUSAUG_INLINE inline
#define BUSAUG_RESTRICT __restrict
#endif

namespace busaug {

// Extents and offsets: 64 bits, because a batch of images passes 2^31 pixels.
using Index = std::int64_t;

} // namespace busaug
