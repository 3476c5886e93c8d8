// SRAD of images of any size: each iteration reads and writes global memory once, after a kernel
// of its own has measured q0.
#pragma once

#include "block.hpp"
#include "device.hpp"
#include "launch.hpp"
#include "srad_batch.hpp"
#include "srad_speckle.hpp"
#include "srad_strip.hpp"

#include <algorithm>
#include <type_traits>

namespace busaug {

constexpr int rows_a_measure = 32; // of a region, one block's share

// The terms of q0 of every image. Each block sums some rows of a region; the last adds them up.
template <class Real>
__global__ void __launch_bounds__(srad_threads, 4)
    measure_regions(SradParams params, SradArrays<Real> arrays, const Real* __restrict__ source,
                    RowSums* sums, unsigned* tickets, SpeckleTerms<Real>* terms) {
    const int height = static_cast<int>(params.height);
    const int width = static_cast<int>(params.width);
    for (Index image = blockIdx.y; image < params.images; image += gridDim.y) {
        const Region region = region_of(arrays.regions + 4 * image, height, width);
        const int shares = region.height > 0 ? ceil_div(region.height, rows_a_measure) : 1;
        const int share = static_cast<int>(blockIdx.x);
        if (share >= shares) {
            continue;
        }
        const Index top = image * params.height;
        const double origin =
            static_cast<double>(arrays.images[(top + region.row) * width + region.column]);
        const int begin = region.row + share * rows_a_measure;
        sum_rows<Real>(
            region, origin, Span{begin, begin + rows_a_measure}.within(region.rows()),
            [&](int y) { return source + (top + y) * width; },
            [&](int y, const RowSums& found) { sums[top + y] = found; });
        if (!last_to_arrive(tickets + image, static_cast<unsigned>(shares)) ||
            threadIdx.x >= warp_size) {
            continue;
        }
        const RowSums total = add_rows(region, [&](int y) {
            return RowSums{__ldcg(&sums[top + y].sum), __ldcg(&sums[top + y].squares)};
        });
        if (threadIdx.x == 0) {
            terms[image] = speckle_terms<Real>(
                region_q0_squared(origin, total.sum, total.squares, region.count()));
        }
    }
}

// One iteration. `measured` has the terms of each image; null: `given` serves all.
template <SradForm form, int columns, class Real>
__global__ void __launch_bounds__(srad_threads, srad_residents<Real>)
    diffuse_once(SradParams params, const Real* __restrict__ source,
                 const SpeckleTerms<Real>* __restrict__ measured, SpeckleTerms<Real> given,
                 Real* __restrict__ target, int strip_rows) {
    using Pixels = Pack<Real, columns>;
    const int height = static_cast<int>(params.height);
    const int width = static_cast<int>(params.width);
    const Strips strips{{0, height}, strip_rows, width / columns};
    const StripPart part = strip_part(
        strips, static_cast<int>(blockIdx.x * srad_threads + threadIdx.x), columns);
    for (Index image = blockIdx.y; image < params.images; image += gridDim.y) {
        const Index first = image * params.height * params.width;
        const Step<Real> step{height, width, measured != nullptr ? measured[image] : given,
                              static_cast<Real>(params.time_step / 4.0)};
        const Rows<const Real, Index> old{source + first, 0, params.width};
        const Rows<Real, Index> own{target + first, 0, params.width};
        diffuse_strip<form, columns>(
            old, step, part, strip_rows, [&](int y, const Pixels& fresh) {
                *reinterpret_cast<Pixels*>(own.row(y) + part.column) = fresh;
            });
    }
}

// Parts of the workspace, in order.
template <class Real> struct SradWorkspace {
    SradWorkspace(const SradParams& params, void* memory) : memory_(static_cast<char*>(memory)) {
        take(iterate, params.images * params.height * params.width);
        take(sums, params.images * params.height);
        take(terms, params.images);
        take(tickets, params.images);
    }

    Index bytes = 0;
    Real* iterate = nullptr; // the one that is not kept
    RowSums* sums = nullptr; // of every row of every image
    SpeckleTerms<Real>* terms = nullptr;
    unsigned* tickets = nullptr;

  private:
    template <class T> void take(T*& part, Index count) {
        constexpr Index alignment = 256;
        part = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + bytes);
        bytes += (count * static_cast<Index>(sizeof(T)) + alignment - 1) / alignment * alignment;
    }

    char* memory_;
};

// Tall strips read and compute less twice; short ones give a small batch enough warps.
inline int strip_rows_in_memory(const SradParams& params, int groups, int device) {
    constexpr Index warps_a_multiprocessor = 16;
    const Index lanes = DeviceFacts(device).multiprocessors * warps_a_multiprocessor * warp_size;
    int rows = tallest_strip;
    while (rows > 4 && params.images * (params.height / rows) * groups < lanes) {
        rows /= 2;
    }
    return rows;
}

template <SradForm form, int columns, class Real>
void diffuse_in_memory(const SradParams& params, const SradArrays<Real>& arrays,
                       const SradWorkspace<Real>& workspace, int device, cudaStream_t stream) {
    constexpr Index largest_grid_y = 65535;
    const bool measured = arrays.regions != nullptr;
    const int height = static_cast<int>(params.height);
    const int groups = static_cast<int>(params.width) / columns;
    const int strip_rows = strip_rows_in_memory(params, groups, device);
    const int blocks = ceil_div(Strips{{0, height}, strip_rows, groups}.count(), srad_threads);
    const int shares = ceil_div(height, rows_a_measure);
    const auto images = static_cast<unsigned>(std::min(params.images, largest_grid_y));
    const LaunchShape measuring{
        {static_cast<unsigned>(shares), images}, srad_threads, 0, stream};
    const LaunchShape diffusing{
        {static_cast<unsigned>(blocks), images}, srad_threads, 0, stream};
    if (measured) {
        check_cuda(cudaMemsetAsync(workspace.tickets, 0,
                                   static_cast<std::size_t>(params.images) * sizeof(unsigned),
                                   stream),
                   "srad tickets");
    }
    const Real* source = arrays.images;
    Index time = 0;
    for (Index scale = 0; scale < params.scales; ++scale) {
        Real* kept = arrays.output + scale * params.images * params.height * params.width;
        for (Index left = params.iterations; left-- > 0; ++time) {
            Real* target = left % 2 == 0 ? kept : workspace.iterate;
            if (measured) {
                launch("srad measure_regions", measure_regions<Real>, measuring, params, arrays,
                       source, workspace.sums, workspace.tickets, workspace.terms);
            }
            const auto given = speckle_terms<Real>(
                decayed_q0_squared(params.q0, params.decay, params.time_step, time));
            launch("srad diffuse_once", diffuse_once<form, columns, Real>, diffusing, params,
                   source, measured ? workspace.terms : nullptr, given, target, strip_rows);
            source = target;
        }
    }
}

} // namespace busaug
