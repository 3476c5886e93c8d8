// The Gram form of the style loss on a CUDA device: F F^T on tensor cores, its difference from the
// target and the loss in one kernel. A block forms one tile left of or on the diagonal and writes
// it to both places. Where there are many positions several blocks share a tile, each with some of
// them, and the last adds up. All sums keep one order.
#include "block.hpp"
#include "busaug/api.hpp"
#include "busaug/mmd.hpp"
#include "busaug/status.hpp"
#include "busaug/tiles.hpp"
#include "gram_tiling.hpp"
#include "launch.hpp"

#include <cstdint>
#include <type_traits>

namespace busaug {
namespace {

// How a task is shared among blocks. It depends on channels and positions alone, and so do the bits
// of the result.
struct GramPlan {
    int tile;
    Index tiles;     // of an image
    Index parts;     // blocks that share a tile
    Index positions; // of one part
};

// Parts of the workspace, in order.
struct GramWorkspace {
    float* parts;      // of the tiles' products, where blocks share a tile
    double* squares;   // ||.||^2 of every tile's entries, both places
    unsigned* tickets; // of every tile, then of every image
    Index bytes, ticket_count;
};

struct GramLaunch {
    GramTask task;
    GramArrays arrays;
    GramPlan plan;
    GramWorkspace workspace;
    bool aligned_features, aligned_matrices; // vectors of four can be moved
};

// What a block works on; kept in shared memory, because registers are for the products.
struct GramPlace {
    Index image, tile; // the tile among all of the batch
    Index part;
    Index position;  // the first of the part's
    int positions;   // of the part
    int row, column; // of the tile's first entry

    __device__ static GramPlace of_block(const GramLaunch& launch) {
        const GramPlan& plan = launch.plan;
        const Index part = blockIdx.x % plan.parts;
        const Index tile = blockIdx.x / plan.parts;
        const Index begin = part * plan.positions;
        const Index left = launch.task.positions - begin;
        const TriangleTile at = triangle_tile(static_cast<int>(tile % plan.tiles));
        return {tile / plan.tiles,
                tile,
                part,
                begin,
                static_cast<int>(left < plan.positions ? left : plan.positions),
                at.row * plan.tile,
                at.column * plan.tile};
    }
};

// The tile's entries of F F^T, in shared memory. False in blocks that only had a part of it.
template <class Tiles>
__device__ bool form_products(const GramLaunch& launch, const GramPlace& place, float* entries) {
    using Bits = typename Tiles::Bits;
    constexpr int size = Tiles::tile * Tiles::tile;
    Accumulators<Tiles> sums;
    {
        const Bits* const features = static_cast<const Bits*>(launch.arrays.features) +
                                     place.image * launch.task.channels * launch.task.positions;
        const bool diagonal = place.row == place.column;
        Bits* const operands = reinterpret_cast<Bits*>(dynamic_shared_memory());
        Stage<Tiles> rows(features, launch.task, place.row, place.position);
        Stage<Tiles> columns(features, launch.task, place.column, place.position);
        const auto fetch = [&](int positions) {
            rows.fetch(positions, launch.aligned_features);
            if (!diagonal) {
                columns.fetch(positions, launch.aligned_features);
            }
        };
        const auto put = [&](Bits* pair) {
            rows.put(pair);
            if (!diagonal) {
                columns.put(pair + Tiles::operand);
            }
        };
        int now = 0; // the pair of operands at work; the other is filled meanwhile
        int left = place.positions;
        fetch(left);
        put(operands);
        __syncthreads();
        while (left > 0) {
            left -= Tiles::positions;
            if (left > 0) {
                fetch(left);
            }
            const Bits* const pair = operands + 2 * now * Tiles::operand;
            sums.add(pair, diagonal ? pair : pair + Tiles::operand);
            now = 1 - now;
            if (left > 0) {
                put(operands + 2 * now * Tiles::operand);
            }
            __syncthreads();
        }
    }
    if (launch.plan.parts == 1) {
        sums.put(entries, Tiles::entry_pitch);
        __syncthreads();
        return true;
    }
    float* const parts = launch.workspace.parts + place.tile * launch.plan.parts * size;
    sums.put(parts + place.part * size, Tiles::tile);
    if (!last_to_arrive(launch.workspace.tickets + place.tile,
                        static_cast<unsigned>(launch.plan.parts))) {
        return false;
    }
    for (int i = static_cast<int>(threadIdx.x); i < size; i += Tiles::threads) {
        float sum = 0.0F;
        for (Index part = 0; part < launch.plan.parts; ++part) {
            sum += __ldcg(parts + part * size + i);
        }
        entries[i / Tiles::tile * Tiles::entry_pitch + i % Tiles::tile] = sum;
    }
    __syncthreads();
    return true;
}

// Turns products into differences, writes those left of and on the diagonal, and returns this
// thread's share of their ||.||^2.
template <class Tiles>
__device__ double form_differences(const GramLaunch& launch, const GramPlace& place,
                                   float* entries) {
    using Vector = Pack<float, Tiles::vector>;
    const int n = static_cast<int>(launch.task.channels);
    const Index first = place.image * n * n;
    double left = 0.0;
    double diagonal = 0.0;
    for (int i = Tiles::vector * static_cast<int>(threadIdx.x); i < Tiles::tile * Tiles::tile;
         i += Tiles::vector * Tiles::threads) {
        const int y = i / Tiles::tile;
        const int x = i % Tiles::tile;
        const int row = place.row + y;
        const int count = row + 1 - (place.column + x); // from here to the diagonal
        if (row >= n || count <= 0) {
            continue;
        }
        const Index at = first + static_cast<Index>(row) * n + place.column + x;
        const Vector target =
            load_vector(launch.arrays.target + at, count, launch.aligned_matrices);
        Vector& found = *reinterpret_cast<Vector*>(entries + y * Tiles::entry_pitch + x);
        float squares = 0.0F;
#pragma unroll
        for (int j = 0; j < Tiles::vector; ++j) {
            const float entry = gram_difference(
                found.value[j], static_cast<float>(launch.task.positions), target.value[j]);
            found.value[j] = entry;
            squares += j < count - 1 ? entry * entry : 0.0F;
            diagonal += j == count - 1 ? static_cast<double>(entry * entry) : 0.0;
        }
        left += static_cast<double>(squares);
        if (launch.aligned_matrices && count >= Tiles::vector) {
            *reinterpret_cast<Vector*>(launch.arrays.difference + at) = found;
        } else {
            for (int j = 0; j < Tiles::vector && j < count; ++j) {
                launch.arrays.difference[at + j] = found.value[j];
            }
        }
    }
    return symmetric_square(left, diagonal);
}

// Writes the entries to the other side of the diagonal. A warp takes eight rows by four columns:
// its reads meet no bank twice, its writes fill 32 bytes.
template <class Tiles>
__device__ void mirror(const GramLaunch& launch, const GramPlace& place, const float* entries) {
    constexpr int groups_down = Tiles::tile / 8;
    const int n = static_cast<int>(launch.task.channels);
    float* const difference = launch.arrays.difference + place.image * n * n;
    for (int i = static_cast<int>(threadIdx.x); i < Tiles::tile * Tiles::tile;
         i += Tiles::threads) {
        const int group = i / warp_size;
        const int y = group % groups_down * 8 + i % 8;
        const int x = group / groups_down * 4 + i / 8 % 4;
        const int row = place.row + y;
        const int column = place.column + x;
        if (row < n && column < row) {
            difference[static_cast<Index>(column) * n + row] = entries[y * Tiles::entry_pitch + x];
        }
    }
}

template <class Tiles>
__global__ void __launch_bounds__(Tiles::threads, 512 / Tiles::threads)
    form_gram_difference(GramLaunch launch) {
    __shared__ GramPlace place;
    float* const entries = reinterpret_cast<float*>(dynamic_shared_memory());
    if (threadIdx.x == 0) {
        place = GramPlace::of_block(launch);
    }
    __syncthreads();
    if (!form_products<Tiles>(launch, place, entries)) {
        return;
    }
    const double square = block_sum(form_differences<Tiles>(launch, place, entries));
    // all threads met in block_sum: all entries are differences now
    mirror<Tiles>(launch, place, entries);
    const Index tiles = launch.plan.tiles;
    if (threadIdx.x == 0) {
        launch.workspace.squares[place.tile] = square;
    }
    if (!last_to_arrive(launch.workspace.tickets + launch.task.images * tiles + place.image,
                        static_cast<unsigned>(tiles))) {
        return;
    }
    double total = 0.0;
    for (Index i = threadIdx.x; i < tiles; i += Tiles::threads) {
        total += __ldcg(launch.workspace.squares + place.image * tiles + i);
    }
    total = block_sum(total);
    if (threadIdx.x == 0) {
        launch.arrays.loss[place.image] =
            static_cast<float>(style_loss(total, launch.task.channels));
    }
}

GramPlan plan_gram(const GramTask& task) {
    constexpr Index positions_a_part = 1024; // enough work beside the adding up of parts
    constexpr Index stage = 32;              // of the half types; a multiple of float32's
    const int tile = task.channels <= 64 ? 64 : 128;
    const Index across = (task.channels + tile - 1) / tile;
    const Index wanted = (task.positions + positions_a_part - 1) / positions_a_part;
    const Index positions = (task.positions + wanted * stage - 1) / (wanted * stage) * stage;
    return {tile, across * (across + 1) / 2, (task.positions + positions - 1) / positions,
            positions};
}

GramWorkspace gram_workspace(const GramTask& task, const GramPlan& plan, void* memory) {
    GramWorkspace workspace{};
    const auto take = [&](auto*& part, Index count) {
        constexpr Index alignment = 256;
        using T = std::remove_reference_t<decltype(*part)>;
        part = memory == nullptr
                   ? nullptr
                   : reinterpret_cast<T*>(static_cast<char*>(memory) + workspace.bytes);
        workspace.bytes +=
            (count * static_cast<Index>(sizeof(T)) + alignment - 1) / alignment * alignment;
    };
    const Index tiles = task.images * plan.tiles;
    take(workspace.parts, plan.parts > 1 ? tiles * plan.parts * plan.tile * plan.tile : 0);
    take(workspace.squares, tiles);
    workspace.ticket_count = tiles + task.images;
    take(workspace.tickets, workspace.ticket_count);
    return workspace;
}

template <class T> bool aligned(const T* pointer, std::size_t size) {
    return reinterpret_cast<std::uintptr_t>(pointer) % (4 * size) == 0;
}

template <class Tiles>
void launch_gram(const GramTask& task, const GramArrays& arrays, const GramPlan& plan,
                 const GramWorkspace& workspace, cudaStream_t stream) {
    const Index run = Tiles::channels_innermost ? task.channels : task.positions;
    const bool aligned_features =
        run % Tiles::vector == 0 && aligned(arrays.features, sizeof(typename Tiles::Bits));
    const bool aligned_matrices = task.channels % Tiles::vector == 0 &&
                                  aligned(arrays.target, sizeof(float)) &&
                                  aligned(arrays.difference, sizeof(float));
    const auto blocks = static_cast<unsigned>(task.images * plan.tiles * plan.parts);
    launch("gram_difference", form_gram_difference<Tiles>,
           {blocks, Tiles::threads, Tiles::shared_bytes, stream},
           GramLaunch{task, arrays, plan, workspace, aligned_features, aligned_matrices});
}

// Calls work(Tiling) with the one for the task.
template <class Feature, class Work>
void with_tiling(int tile, bool channels_innermost, const Work& work) {
    if (tile == 64) {
        channels_innermost ? work(Tiling<Feature, 64, true>{}) : work(Tiling<Feature, 64, false>{});
    } else {
        channels_innermost ? work(Tiling<Feature, 128, true>{})
                           : work(Tiling<Feature, 128, false>{});
    }
}

void check_gram(const GramTask& task) {
    constexpr Index most = 1 << 16;
    constexpr Index most_blocks = 2147483647;
    require(task.images >= 0 && task.channels > 0 && task.positions > 0,
            "gram_difference: extents must be positive");
    require(task.channels <= most, "gram_difference: more than 2^16 channels");
    const GramPlan plan = plan_gram(task);
    require(task.images <= most_blocks / plan.parts / plan.tiles,
            "gram_difference: more blocks than a grid can have");
}

} // namespace

Index gram_difference_cuda_workspace(const GramTask& task) {
    check_gram(task);
    return gram_workspace(task, plan_gram(task), nullptr).bytes;
}

void gram_difference_cuda(const GramTask& task, const GramArrays& arrays, void* workspace,
                          int device, void* stream) {
    check_gram(task);
    if (task.images == 0) {
        return;
    }
    require(workspace != nullptr, "gram_difference: no workspace");
    const DeviceGuard guard(device);
    const auto queue = static_cast<cudaStream_t>(stream);
    const GramPlan plan = plan_gram(task);
    const GramWorkspace parts = gram_workspace(task, plan, workspace);
    check_cuda(cudaMemsetAsync(parts.tickets, 0,
                               static_cast<std::size_t>(parts.ticket_count) * sizeof(unsigned),
                               queue),
               "gram_difference tickets");
    const auto work = [&](auto tiling) {
        launch_gram<decltype(tiling)>(task, arrays, plan, parts, queue);
    };
    switch (task.type) {
    case FeatureType::float32:
        return with_tiling<float>(plan.tile, task.channels_innermost, work);
    case FeatureType::float16:
        return with_tiling<__half>(plan.tile, task.channels_innermost, work);
    case FeatureType::bfloat16:
        return with_tiling<__nv_bfloat16>(plan.tile, task.channels_innermost, work);
    }
}

} // namespace busaug
