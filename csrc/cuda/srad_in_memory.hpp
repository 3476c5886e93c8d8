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
        const double origin = static_cast<double>(Domain<Real>{arrays.ranges}.intensity(
            image, arrays.images[(top + region.row) * width + region.column]));
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
            terms[image] = speckle_terms<Real>(region_q0_squared(
                origin, total.sum, total.squares, region.count(), params.correction));
        }
    }
}

// Calls work(image, i) for every pixel i of every image.
template <class Work> __device__ void for_each_pixel(const SradParams& params, const Work& work) {
    const Index pixels = params.height * params.width;
    for (Index image = blockIdx.y; image < params.images; image += gridDim.y) {
        for (Index i = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x; i < pixels;
             i += static_cast<Index>(gridDim.x) * blockDim.x) {
            work(image, i);
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
    const StripPart part =
        strip_part(strips, static_cast<int>(blockIdx.x * srad_threads + threadIdx.x), columns);
    for (Index image = blockIdx.y; image < params.images; image += gridDim.y) {
        const Index first = image * params.height * params.width;
        const Step<Real> step{height, width, measured != nullptr ? measured[image] : given,
                              static_cast<Real>(params.time_step / 4.0)};
        const Rows<const Real, Index> old{source + first, 0, params.width};
        const Rows<Real, Index> own{target + first, 0, params.width};
        diffuse_strip<form, columns>(old, step, part, strip_rows, [&](int y, const Pixels& fresh) {
            *reinterpret_cast<Pixels*>(own.row(y) + part.column) = fresh;
        });
    }
}

// Log-compressed images to intensities, and kept ones back in place.
template <class Real>
__global__ void __launch_bounds__(srad_threads, 4)
    expand(SradParams params, SradArrays<Real> arrays, Real* __restrict__ intensities) {
    const Index pixels = params.height * params.width;
    for_each_pixel(params, [&](Index image, Index i) {
        intensities[image * pixels + i] =
            Domain<Real>{arrays.ranges}.intensity(image, arrays.images[image * pixels + i]);
    });
}

template <class Real>
__global__ void __launch_bounds__(srad_threads, 4)
    compress(SradParams params, SradArrays<Real> arrays, Real* kept) {
    const Index pixels = params.height * params.width;
    for_each_pixel(params, [&](Index image, Index i) {
        Real& value = kept[image * pixels + i];
        value = Domain<Real>{arrays.ranges}.pixel(image, value);
    });
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

// Iterates alternate between the workspace and the output of the scale at hand, so that the last
// one of a scale is where it is kept. Log-compressed images are expanded into whichever of the two
// the first iteration does not write; a kept one is compressed once the next iteration has read it.
template <SradForm form, int columns, class Real>
void diffuse_in_memory(const SradParams& params, const SradArrays<Real>& arrays,
                       const SradWorkspace<Real>& workspace, int device, cudaStream_t stream) {
    const bool measured = arrays.regions != nullptr;
    const bool compressed = arrays.ranges != nullptr;
    const int height = static_cast<int>(params.height);
    const int groups = static_cast<int>(params.width) / columns;
    const int strip_rows = strip_rows_in_memory(params, groups, device);
    const int strips = Strips{{0, height}, strip_rows, groups}.count();
    const int pixels = height * static_cast<int>(params.width);
    const auto shape = [&](int blocks) {
        constexpr Index largest_grid_y = 65535;
        const auto images = static_cast<unsigned>(std::min(params.images, largest_grid_y));
        return LaunchShape{{static_cast<unsigned>(blocks), images}, srad_threads, 0, stream};
    };
    const auto kept = [&](Index scale) {
        return arrays.output + scale * params.images * params.height * params.width;
    };
    const auto compress_scale = [&](Index scale) {
        if (compressed) {
            launch("srad compress", compress<Real>, shape(ceil_div(pixels, srad_threads)), params,
                   arrays, kept(scale));
        }
    };

    const Real* source = arrays.images;
    if (compressed) {
        Real* const expanded = params.iterations % 2 == 0 ? kept(0) : workspace.iterate;
        launch("srad expand", expand<Real>, shape(ceil_div(pixels, srad_threads)), params, arrays,
               expanded);
        source = expanded;
    }
    if (measured) {
        check_cuda(cudaMemsetAsync(workspace.tickets, 0,
                                   static_cast<std::size_t>(params.images) * sizeof(unsigned),
                                   stream),
                   "srad tickets");
    }
    for (Index time = 0; time < params.scales * params.iterations; ++time) {
        const Index scale = time / params.iterations;
        const Index left = params.iterations - 1 - time % params.iterations;
        Real* const target = left % 2 == 0 ? kept(scale) : workspace.iterate;
        if (measured) {
            launch("srad measure_regions", measure_regions<Real>,
                   shape(ceil_div(height, rows_a_measure)), params, arrays, source, workspace.sums,
                   workspace.tickets, workspace.terms);
        }
        const auto given = speckle_terms<Real>(
            decayed_q0_squared(params.q0, params.decay, params.time_step, time));
        launch("srad diffuse_once", diffuse_once<form, columns, Real>,
               shape(ceil_div(strips, srad_threads)), params, source,
               measured ? workspace.terms : nullptr, given, target, strip_rows);
        if (scale > 0 && time % params.iterations == 0) {
            compress_scale(scale - 1);
        }
        source = target;
    }
    compress_scale(params.scales - 1);
}

} // namespace busaug
