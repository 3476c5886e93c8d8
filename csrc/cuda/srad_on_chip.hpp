// SRAD of images that stay in shared memory through all iterations of all scales: one thread-block
// cluster an image, one band of its rows a block.
#pragma once

#include "block.hpp"
#include "device.hpp"
#include "launch.hpp"
#include "srad_batch.hpp"
#include "srad_speckle.hpp"
#include "srad_strip.hpp"

#include <limits>
#include <optional>

namespace busaug {

// What a block keeps beside pixels and sums, out of its registers.
template <class Real> struct ChipState {
    Region region;
    double origin; // of the region's sums
    SpeckleTerms<Real> terms;
};

// A block's shared memory: its state, the sums of the region's rows twice (one set is read while
// the other is written), and two buffers of its band with one row above and two below.
template <class Real> struct ChipLayout {
    BUSAUG_HOST_DEVICE ChipLayout(int most_rows, int width, int columns)
        : pitch(columns == 1 ? width | 1 : width + columns), // walks down a column: few conflicts
          buffer((most_rows + 3) * pitch), set(most_rows),
          pixels(sums + 2 * static_cast<std::size_t>(set) * sizeof(RowSums)),
          bytes(pixels + 2 * static_cast<std::size_t>(buffer) * sizeof(Real)) {}

    static constexpr std::size_t sums = (sizeof(ChipState<Real>) + 15) / 16 * 16;

    int pitch;
    int buffer; // pixels of one
    int set;    // sums of one
    std::size_t pixels, bytes;
};

// A block's view of its image and shared memory.
template <class Real> struct ChipBand {
    __device__ ChipBand(const SradParams& params, int columns)
        : height(static_cast<int>(params.height)), width(static_cast<int>(params.width)),
          bands{height, cluster.size()}, rows(bands.band(cluster.rank())),
          image(static_cast<int>(blockIdx.x) / cluster.size()),
          layout(bands.largest(), width, columns) {}

    __device__ ChipState<Real>& state() const {
        return *reinterpret_cast<ChipState<Real>*>(dynamic_shared_memory());
    }
    // Sums of the row y: the first in this block, the second in whichever has it.
    __device__ RowSums& own_sums(int set, int y) const {
        return sums()[set * layout.set + y - rows.begin];
    }
    __device__ const RowSums& sums_of(int set, int y) const {
        const int owner = bands.owner(y);
        return cluster.in(owner, sums())[set * layout.set + y - bands.band(owner).begin];
    }
    // Buffer 0 or 1 of this block, or of a neighbour.
    template <class Pixel> __device__ Rows<Pixel, int> own(int which) const {
        return {pixels() + which * layout.buffer, rows.begin - 1, layout.pitch};
    }
    __device__ Rows<Real, int> neighbours(int rank, int which) const {
        return {cluster.in(rank, pixels() + which * layout.buffer), bands.band(rank).begin - 1,
                layout.pitch};
    }

    Cluster cluster;
    int height, width;
    Bands bands;
    Span rows;
    int image;
    ChipLayout<Real> layout;

  private:
    __device__ RowSums* sums() const {
        return reinterpret_cast<RowSums*>(dynamic_shared_memory() + layout.sums);
    }
    __device__ Real* pixels() const {
        return reinterpret_cast<Real*>(dynamic_shared_memory() + layout.pixels);
    }
};

// Rows at a band's ends are also written to the neighbours that read them; one barrier of the
// cluster an iteration makes the pixels and sums of all blocks whole.
template <SradForm form, int columns, class Real>
__global__ void __launch_bounds__(srad_threads, srad_residents<Real>)
    diffuse_on_chip(SradParams params, SradArrays<Real> arrays, int strip_rows) {
    using Pixels = Pack<Real, columns>;
    const ChipBand<Real> band(params, columns);
    const Cluster& cluster = band.cluster;
    ChipState<Real>& state = band.state();
    const Index pixels = params.height * params.width;
    const bool measured = arrays.regions != nullptr;

    const Domain<Real> domain{arrays.ranges};
    const Real* source = arrays.images + band.image * pixels;
    const Span loaded = Span{band.rows.begin - 1, band.rows.end + 2}.within({0, band.height});
    const auto first = band.template own<Real>(0);
    for (int i = static_cast<int>(threadIdx.x); i < loaded.size() * band.width; i += srad_threads) {
        const int y = loaded.begin + i / band.width;
        const int x = i % band.width;
        first.row(y)[x] =
            domain.intensity(band.image, source[static_cast<Index>(y) * band.width + x]);
    }
    if (measured && threadIdx.x == 0) {
        const Region region = region_of(arrays.regions + 4 * band.image, band.height, band.width);
        state.region = region;
        state.origin = static_cast<double>(domain.intensity(
            band.image, source[static_cast<Index>(region.row) * band.width + region.column]));
    }
    __syncthreads();

    const auto sum_band = [&](int which) {
        if (measured) {
            const auto rows = band.template own<const Real>(which);
            sum_rows<Real>(
                state.region, state.origin, state.region.rows().within(band.rows),
                [&](int y) { return rows.row(y); },
                [&](int y, const RowSums& found) { band.own_sums(which, y) = found; });
        }
    };
    sum_band(0);
    cluster.wait();

    const Strips strips{band.rows, strip_rows, band.width / columns};
    const int iterations = static_cast<int>(params.scales * params.iterations);
    int left = static_cast<int>(params.iterations); // of the scale
    for (int time = 0; time < iterations; ++time) {
        const int from = time % 2;
        const int to = 1 - from;
        --left;
        if (threadIdx.x < warp_size) {
            double now = 0.0;
            if (measured) {
                const RowSums total =
                    add_rows(state.region, [&](int y) { return band.sums_of(from, y); });
                now = region_q0_squared(state.origin, total.sum, total.squares,
                                        state.region.count(), params.correction);
            } else {
                now = decayed_q0_squared(params.q0, params.decay, params.time_step, time);
            }
            if (threadIdx.x == 0) {
                state.terms = speckle_terms<Real>(now);
            }
        }
        __syncthreads();
        const Step<Real> step{band.height, band.width, state.terms,
                              static_cast<Real>(params.time_step / 4.0)};
        const auto old = band.template own<const Real>(from);
        const auto own = band.template own<Real>(to);
        for (int first = group_rank(warp_size) * warp_size; first < strips.count();
             first += srad_threads) {
            const StripPart part = strip_part(strips, first + lane_rank(warp_size), columns);
            diffuse_strip<form, columns>(
                old, step, part, strip_rows, [&](int y, const Pixels& fresh) {
                    const auto put = [&](Real* row) {
                        *reinterpret_cast<Pixels*>(row + part.column) = fresh;
                    };
                    put(own.row(y));
                    if (band.rows.begin > 0 && y < band.rows.begin + 2) {
                        put(band.neighbours(cluster.rank() - 1, to).row(y));
                    }
                    if (band.rows.end < band.height && y == band.rows.end - 1) {
                        put(band.neighbours(cluster.rank() + 1, to).row(y));
                    }
                    if (left == 0) {
                        const Index scale = time / static_cast<int>(params.iterations);
                        Real* const kept = arrays.output +
                                           (scale * params.images + band.image) * pixels +
                                           static_cast<Index>(y) * band.width + part.column;
                        Pixels shown;
#pragma unroll
                        for (int i = 0; i < columns; ++i) {
                            shown.value[i] = domain.pixel(band.image, fresh.value[i]);
                        }
                        *reinterpret_cast<Pixels*>(kept) = shown;
                    }
                });
        }
        __syncthreads();
        sum_band(to);
        cluster.wait();
        left = left == 0 ? static_cast<int>(params.iterations) : left;
    }
}

template <class Real> using ChipKernel = void (*)(SradParams, SradArrays<Real>, int);

struct ChipPlan {
    LaunchShape shape;
    int strip_rows;
};

// Rows a strip for which the warps of a block are done soonest: a strip forms one row of
// coefficients more than it has rows.
inline int strip_rows_on_chip(int band_rows, int groups) {
    int best = 1;
    int least = std::numeric_limits<int>::max();
    for (int rows = 1; rows <= band_rows && rows <= tallest_strip; ++rows) {
        const int rounds = ceil_div(ceil_div(band_rows, rows) * groups, srad_threads);
        if (rounds * (rows + 1) <= least) {
            least = rounds * (rows + 1);
            best = rows;
        }
    }
    return best;
}

// None where the image does not fit the shared memory of the largest cluster. Of the clusters that
// hold it the smallest is taken that leaves room for a second block beside each (which works while
// the first waits) and fills the device; else the largest.
template <class Real>
std::optional<ChipPlan> plan_on_chip(const SradParams& params, ChipKernel<Real> kernel, int columns,
                                     int device, cudaStream_t stream) {
    constexpr unsigned largest_cluster = 8; // that every device with clusters can launch
    constexpr Index largest_image = 1 << 20;
    if (params.height * params.width > largest_image) {
        return {};
    }
    const DeviceFacts facts(device);
    const int height = static_cast<int>(params.height);
    const int width = static_cast<int>(params.width);
    std::optional<ChipPlan> plan;
    for (unsigned size = 1; size <= largest_cluster; size *= 2) {
        const Bands bands{height, static_cast<int>(size)};
        if (size > 1 && (!facts.clusters || height < 2 * bands.count)) {
            break; // a band reads two rows below it, of one neighbour
        }
        const ChipLayout<Real> layout(bands.largest(), width, columns);
        const unsigned blocks = static_cast<unsigned>(params.images) * size;
        const LaunchShape shape{blocks, srad_threads, layout.bytes, stream, size};
        if (layout.bytes > facts.shared_bytes_a_block ||
            (size > 1 && !cluster_fits("srad diffuse_on_chip", kernel, shape))) {
            continue;
        }
        plan = ChipPlan{shape, strip_rows_on_chip(bands.largest(), width / columns)};
        if (2 * layout.bytes <= facts.shared_bytes_a_block &&
            blocks >= 2 * static_cast<unsigned>(facts.multiprocessors)) {
            break;
        }
    }
    return plan;
}

} // namespace busaug
