// The rest of the style loss beside its matrix products, in one pass: difference, squares, mirror.
#include "busaug/mmd.hpp"

#include "busaug/api.hpp"
#include "busaug/status.hpp"
#include "simd.hpp"
#include "team.hpp"

#include <algorithm>
#include <atomic>
#include <vector>

namespace busaug {
namespace {

// Rows and columns of a tile that is mirrored in the nearest cache.
constexpr Index side = 64;

// Lanes fix the order of the additions, so that every vector width gives the same bits.
constexpr int lanes = 16;

// Terms of a partial sum: the order of the additions depends on it, so it is no matter of threads.
constexpr Index chunk = 4096;

// Below this many entries a thread costs more than it saves.
constexpr Index minimum_entries_per_thread = 1 << 16;

struct Sum {
    double lane[lanes] = {};

    BUSAUG_INLINE double total() const {
        double all = 0.0;
        for (int i = 0; i < lanes; ++i) {
            all += lane[i];
        }
        return all;
    }
};

template <class Real>
BUSAUG_INLINE double inner_product(const Real* BUSAUG_RESTRICT x, const Real* BUSAUG_RESTRICT y,
                                   Index count) {
    Sum sum;
    Index i = 0;
    for (; i + lanes <= count; i += lanes) {
        for (int lane = 0; lane < lanes; ++lane) {
            sum.lane[lane] += static_cast<double>(x[i + lane]) * static_cast<double>(y[i + lane]);
        }
    }
    for (int lane = 0; i < count; ++i, ++lane) {
        sum.lane[lane] += static_cast<double>(x[i]) * static_cast<double>(y[i]);
    }
    return sum.total();
}

// Some rows of one image, at most `side`, that begin at a multiple of it.
template <class Real> struct Strip {
    Range rows;
    Index channels;
    Real positions;
    const Real* products; // of the strip's first row
    Index stride;         // between rows of products
    const Real* target;   // of the image
    Real* difference;     // likewise
    double* squares;      // ||D||^2 of each row of the image, its mirror images included
};

// The lower triangle's part of row i.
template <class Real> BUSAUG_INLINE void difference_row(const Strip<Real>& strip, Index i) {
    const Real* BUSAUG_RESTRICT product = strip.products + (i - strip.rows.begin) * strip.stride;
    const Real* BUSAUG_RESTRICT target = strip.target + i * strip.channels;
    Real* BUSAUG_RESTRICT difference = strip.difference + i * strip.channels;
    for (Index j = 0; j <= i; ++j) {
        difference[j] = gram_difference(product[j], strip.positions, target[j]);
    }
    const double diagonal = static_cast<double>(difference[i]);
    strip.squares[i] =
        symmetric_square(inner_product(difference, difference, i), diagonal * diagonal);
}

// Copies the rows' entries left of the diagonal to above it. A tile is turned over in an array of
// its own and written in runs: rows lie a power of two apart as a rule, and single entries so far
// apart share neither a page nor the cache.
template <class Real> BUSAUG_INLINE void mirror(const Strip<Real>& strip) {
    const Index n = strip.channels;
    const auto [begin, end] = strip.rows;
    Real turned[side][side];
    for (Index j0 = 0; j0 < begin; j0 += side) {
        for (Index i = begin; i < end; ++i) {
            const Real* BUSAUG_RESTRICT run = strip.difference + i * n + j0;
            for (Index j = 0; j < side; ++j) {
                turned[j][i - begin] = run[j];
            }
        }
        for (Index j = 0; j < side; ++j) {
            std::copy_n(turned[j], end - begin, strip.difference + (j0 + j) * n + begin);
        }
    }
    for (Index i = begin; i < end; ++i) {
        for (Index j = begin; j < i; ++j) {
            strip.difference[j * n + i] = strip.difference[i * n + j];
        }
    }
}

// The loops above, compiled for one instruction set.
template <class Real> struct Kernels {
    void (*difference)(const Strip<Real>&);
    double (*inner_product)(const Real*, const Real*, Index);
};

#define BUSAUG_KERNELS(name, attribute)                                                            \
    template <class Real> struct name {                                                            \
        attribute static void difference(const Strip<Real>& strip) {                               \
            for (Index i = strip.rows.begin; i < strip.rows.end; ++i) {                            \
                difference_row(strip, i);                                                          \
            }                                                                                      \
            mirror(strip);                                                                         \
        }                                                                                          \
        attribute static double inner(const Real* x, const Real* y, Index count) {                 \
            return inner_product(x, y, count);                                                     \
        }                                                                                          \
        static constexpr Kernels<Real> table{difference, inner};                                   \
    };

BUSAUG_SIMD_LEVELS(BUSAUG_KERNELS)
#undef BUSAUG_KERNELS

#define BUSAUG_ROW(name, attribute) name<Real>::table,
template <class Real> constexpr Kernels<Real> tables[] = {BUSAUG_SIMD_LEVELS(BUSAUG_ROW)};
#undef BUSAUG_ROW

int useful_threads(int threads, Index entries) {
    const Index useful = std::max<Index>(1, entries / minimum_entries_per_thread);
    return static_cast<int>(std::min<Index>(threads, useful));
}

// Calls work(task) for each of `count` tasks, each once, on one of the team's members.
template <class Work> void share_tasks(int threads, Index count, Work&& work) {
    std::atomic<Index> next{0};
    run_team(threads, [&](const Team&) {
        for (Index task = next++; task < count; task = next++) {
            work(task);
        }
    });
}

} // namespace

void check_gram_difference(const GramDifferenceParams& params) {
    require(params.images >= 0 && params.channels > 0 && params.positions > 0,
            "gram_difference: extents must be positive");
    require(params.block > 0 && params.block % side == 0,
            "gram_difference: blocks must have a multiple of 64 rows");
}

template <class Real>
void gram_difference_cpu(const GramDifferenceParams& params, const Real* products,
                         const Real* target, Real* difference, Real* loss, int threads,
                         const std::string& simd) {
    check_gram_difference(params);
    require(threads > 0, "gram_difference: threads must be positive");
    const Kernels<Real>& kernels = tables<Real>[simd_level(simd)];
    const Index n = params.channels;
    const Index strips = (n + side - 1) / side;
    std::vector<double> squares(static_cast<std::size_t>(params.images * n));

    share_tasks(useful_threads(threads, params.images * n * n / 2), params.images * strips,
                [&](Index task) {
                    const Index image = task / strips;
                    const Index begin = task % strips * side;
                    const RowBlock block =
                        row_block(begin / params.block, params.block, n, params.images);
                    const Index height = block.end - block.begin;
                    kernels.difference({{begin, std::min(begin + side, n)},
                                        n,
                                        static_cast<Real>(params.positions),
                                        products + block.offset +
                                            (image * height + begin - block.begin) * block.end,
                                        block.end,
                                        target + image * n * n,
                                        difference + image * n * n,
                                        squares.data() + image * n});
                });
    for (Index image = 0; image < params.images; ++image) {
        double square = 0.0;
        for (Index i = 0; i < n; ++i) {
            square += squares[static_cast<std::size_t>(image * n + i)];
        }
        loss[image] = static_cast<Real>(style_loss(square, n));
    }
}

template <class Real>
void inner_products_cpu(Index images, Index count, const Real* x, const Real* y, double* output,
                        int threads, const std::string& simd) {
    require(images >= 0 && count >= 0, "inner_products: extents must not be negative");
    require(threads > 0, "inner_products: threads must be positive");
    const Kernels<Real>& kernels = tables<Real>[simd_level(simd)];
    const Index chunks = (count + chunk - 1) / chunk;
    std::vector<double> sums(static_cast<std::size_t>(images * chunks));

    share_tasks(useful_threads(threads, images * count), images * chunks, [&](Index task) {
        const Index begin = task % chunks * chunk;
        const Index at = task / chunks * count + begin;
        sums[static_cast<std::size_t>(task)] =
            kernels.inner_product(x + at, y + at, std::min(chunk, count - begin));
    });
    for (Index image = 0; image < images; ++image) {
        output[image] = 0.0;
        for (Index i = 0; i < chunks; ++i) {
            output[image] += sums[static_cast<std::size_t>(image * chunks + i)];
        }
    }
}

template void gram_difference_cpu(const GramDifferenceParams&, const float*, const float*, float*,
                                  float*, int, const std::string&);
template void gram_difference_cpu(const GramDifferenceParams&, const double*, const double*,
                                  double*, double*, int, const std::string&);
template void inner_products_cpu(Index, Index, const float*, const float*, double*, int,
                                 const std::string&);
template void inner_products_cpu(Index, Index, const double*, const double*, double*, int,
                                 const std::string&);

} // namespace busaug
