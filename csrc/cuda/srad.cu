// SRAD on a CUDA device: per iteration the region's q0, then coefficients, then the update. Each
// kernel reads one buffer and writes another, so that no border pixel is read after it changed.
#include "busaug/api.hpp"
#include "busaug/srad.hpp"
#include "busaug/status.hpp"

#include <algorithm>

namespace busaug {
namespace {

constexpr int tile_width = 32;
constexpr int tile_height = 8;
constexpr int region_threads = 256;
constexpr Index largest_grid = 65535; // of the second and third grid axis
constexpr Index alignment = 256;

template <class Real> struct Batch {
    Index images, height, width;

    __host__ __device__ Index pixels() const { return height * width; }
    __host__ __device__ Index offset(Index image, Index y, Index x) const {
        return (image * height + y) * width + x;
    }
    __device__ Stencil<Real> stencil(const Real* source, Index image, Index y, Index x) const {
        return {source[offset(image, y, x)], source[offset(image, before(y), x)],
                source[offset(image, after(y, height), x)], source[offset(image, y, before(x))],
                source[offset(image, y, after(x, width))]};
    }
};

// Calls work(image, y, x) once for every pixel of the batch, whatever the grid.
template <class Real, class Work>
__device__ void for_each_pixel(const Batch<Real>& batch, const Work& work) {
    const Index x = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
    if (x >= batch.width) {
        return;
    }
    for (Index image = blockIdx.z; image < batch.images; image += gridDim.z) {
        for (Index y = static_cast<Index>(blockIdx.y) * blockDim.y + threadIdx.y; y < batch.height;
             y += static_cast<Index>(gridDim.y) * blockDim.y) {
            work(image, y, x);
        }
    }
}

// One block an image. Strided sums and a tree: the order of additions never changes.
template <class Real>
__global__ void __launch_bounds__(region_threads)
    measure_regions(Batch<Real> batch, const Real* __restrict__ source,
                    const Index* __restrict__ regions, Index correction,
                    SpeckleTerms<Real>* __restrict__ terms) {
    __shared__ double sums[region_threads];
    __shared__ double squares[region_threads];
    const Index image = blockIdx.x;
    const Index* region = regions + 4 * image;
    const Index count = region[2] * region[3];
    const double origin = static_cast<double>(source[batch.offset(image, region[0], region[1])]);
    const unsigned rank = threadIdx.x;
    double sum = 0.0;
    double square = 0.0;
    for (Index i = rank; i < count; i += region_threads) {
        const Index y = region[0] + i / region[3];
        const Index x = region[1] + i % region[3];
        const double value = static_cast<double>(source[batch.offset(image, y, x)]) - origin;
        sum += value;
        square += value * value;
    }
    sums[rank] = sum;
    squares[rank] = square;
    __syncthreads();
    for (unsigned half = region_threads / 2; half > 0; half /= 2) {
        if (rank < half) {
            sums[rank] += sums[rank + half];
            squares[rank] += squares[rank + half];
        }
        __syncthreads();
    }
    if (rank == 0) {
        terms[image] =
            speckle_terms<Real>(region_q0_squared(origin, sums[0], squares[0], count, correction));
    }
}

// `measured` has the terms of each image; null: `given` serves all.
template <SradForm form, class Real>
__global__ void coefficients(Batch<Real> batch, const Real* __restrict__ source,
                             const SpeckleTerms<Real>* __restrict__ measured,
                             SpeckleTerms<Real> given, Real* __restrict__ c) {
    for_each_pixel(batch, [&](Index image, Index y, Index x) {
        const SpeckleTerms<Real> speckle = measured != nullptr ? measured[image] : given;
        c[batch.offset(image, y, x)] =
            diffusion_coefficient<form>(batch.stencil(source, image, y, x), speckle);
    });
}

template <class Real>
__global__ void diffuse(Batch<Real> batch, const Real* __restrict__ source,
                        const Real* __restrict__ c, Real step, Real* __restrict__ target) {
    for_each_pixel(batch, [&](Index image, Index y, Index x) {
        target[batch.offset(image, y, x)] =
            diffused(batch.stencil(source, image, y, x), c[batch.offset(image, y, x)],
                     c[batch.offset(image, after(y, batch.height), x)],
                     c[batch.offset(image, y, after(x, batch.width))], step);
    });
}

template <class Real> __device__ Compression<Real> compression(const Real* ranges, Index image) {
    return {ranges[2 * image], ranges[2 * image + 1]};
}

template <class Real>
__global__ void to_intensities(Batch<Real> batch, const Real* __restrict__ pixels,
                               const Real* __restrict__ ranges, Real* __restrict__ intensities) {
    for_each_pixel(batch, [&](Index image, Index y, Index x) {
        const Index i = batch.offset(image, y, x);
        intensities[i] = compression(ranges, image).intensity(pixels[i]);
    });
}

template <class Real>
__global__ void to_pixels(Batch<Real> batch, const Real* __restrict__ ranges, Real* values) {
    for_each_pixel(batch, [&](Index image, Index y, Index x) {
        const Index i = batch.offset(image, y, x);
        values[i] = compression(ranges, image).pixel(values[i]);
    });
}

Index aligned(Index bytes) { return (bytes + alignment - 1) / alignment * alignment; }

// Parts of the workspace, in order.
template <class Real> struct Workspace {
    Workspace(const SradParams& params, void* memory) {
        const Index plane = aligned(params.images * params.height * params.width *
                                    static_cast<Index>(sizeof(Real)));
        char* next = static_cast<char*>(memory);
        coefficients = reinterpret_cast<Real*>(next);
        iterate = reinterpret_cast<Real*>(next + plane);
        terms = reinterpret_cast<SpeckleTerms<Real>*>(next + 2 * plane);
        bytes = 2 * plane + params.images * static_cast<Index>(sizeof(SpeckleTerms<Real>));
    }

    Real* coefficients;
    Real* iterate; // the one that is not kept
    SpeckleTerms<Real>* terms;
    Index bytes;
};

// Log-compressed images are expanded into the buffer that the first iteration does not write; a
// kept one is compressed in place once the next iteration has read it.
template <SradForm form, class Real>
void iterate(const SradParams& params, const SradArrays<Real>& arrays,
             const Workspace<Real>& workspace, cudaStream_t stream) {
    const Batch<Real> batch{params.images, params.height, params.width};
    const dim3 block(tile_width, tile_height);
    const Index columns = (params.width + tile_width - 1) / tile_width;
    const Index rows = (params.height + tile_height - 1) / tile_height;
    const dim3 grid(static_cast<unsigned>(columns),
                    static_cast<unsigned>(std::min(rows, largest_grid)),
                    static_cast<unsigned>(std::min(params.images, largest_grid)));
    const Real* source = arrays.images;
    if (arrays.ranges != nullptr) {
        Real* expanded = params.iterations % 2 == 0 ? arrays.output : workspace.iterate;
        to_intensities<Real>
            <<<grid, block, 0, stream>>>(batch, arrays.images, arrays.ranges, expanded);
        check_launch("srad to_intensities");
        source = expanded;
    }
    const auto compress = [&](Real* kept) {
        if (arrays.ranges != nullptr) {
            to_pixels<Real><<<grid, block, 0, stream>>>(batch, arrays.ranges, kept);
            check_launch("srad to_pixels");
        }
    };
    Index time = 0;
    Real* kept = arrays.output;
    for (Index scale = 0; scale < params.scales; ++scale) {
        Real* former = kept;
        kept = arrays.output + scale * params.images * batch.pixels();
        for (Index left = params.iterations; left-- > 0; ++time) {
            Real* target = left % 2 == 0 ? kept : workspace.iterate;
            const auto given = speckle_terms<Real>(
                decayed_q0_squared(params.q0, params.decay, params.time_step, time));
            if (arrays.regions != nullptr) {
                measure_regions<Real>
                    <<<static_cast<unsigned>(params.images), region_threads, 0, stream>>>(
                        batch, source, arrays.regions, params.correction, workspace.terms);
                check_launch("srad measure_regions");
            }
            coefficients<form, Real><<<grid, block, 0, stream>>>(
                batch, source, arrays.regions != nullptr ? workspace.terms : nullptr, given,
                workspace.coefficients);
            check_launch("srad coefficients");
            diffuse<Real><<<grid, block, 0, stream>>>(batch, source, workspace.coefficients,
                                                      static_cast<Real>(params.time_step / 4.0),
                                                      target);
            check_launch("srad diffuse");
            if (scale > 0 && left == params.iterations - 1) {
                compress(former);
            }
            source = target;
        }
    }
    compress(kept);
}

} // namespace

template <class Real> Index srad_cuda_workspace(const SradParams& params) {
    check_srad(params);
    return Workspace<Real>(params, nullptr).bytes;
}

template <class Real>
void srad_cuda(const SradParams& params, const SradArrays<Real>& arrays, void* workspace,
               int device, void* stream) {
    check_srad(params);
    require(params.images <= 2147483647 && params.width <= 2147483647, "srad: batch too large");
    if (params.images == 0) {
        return;
    }
    require(workspace != nullptr, "srad: no workspace");
    const DeviceGuard guard(device);
    clear_cuda_error();
    const Workspace<Real> parts(params, workspace);
    const auto queue = static_cast<cudaStream_t>(stream);
    if (params.form == SradForm::rational) {
        iterate<SradForm::rational>(params, arrays, parts, queue);
    } else {
        iterate<SradForm::exponential>(params, arrays, parts, queue);
    }
}

template Index srad_cuda_workspace<float>(const SradParams&);
template Index srad_cuda_workspace<double>(const SradParams&);
template void srad_cuda(const SradParams&, const SradArrays<float>&, void*, int, void*);
template void srad_cuda(const SradParams&, const SradArrays<double>&, void*, int, void*);

} // namespace busaug
