// Steps of the alpha-beta rule on the CPU: one pass over memory each, elements by themselves.
#include "busaug/lrp.hpp"

#include "busaug/api.hpp"
#include "busaug/status.hpp"
#include "pool.hpp"
#include "simd.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <numeric>

namespace busaug {
namespace {

// Below this many elements a thread costs more than it saves.
constexpr Index minimum_elements_per_thread = 1 << 15;

// Units as rows that one loop runs along: the channels of a position, or the positions of a
// channel.
struct Rows {
    explicit Rows(const LrpUnits& units)
        : count(units.inner == 1 ? units.outer : units.outer * units.channels),
          length(units.inner == 1 ? units.channels : units.inner) {}

    Index count, length;
};

// The bias along a row.
template <class Real> struct BiasOfEach {
    const Real* BUSAUG_RESTRICT bias;
    BUSAUG_INLINE Real operator()(Index i) const { return bias[i]; }
};
template <class Real> struct BiasOfAll {
    Real bias;
    BUSAUG_INLINE Real operator()(Index) const { return bias; }
};

// Row()(pass, first element, bias along the row) for each row, and the sum of what it returns. A
// type of its own and not a lambda, which may be compiled apart, without the instruction set.
template <class Row, class Pass, class Real>
BUSAUG_INLINE Index for_each_row(const Pass& pass, const Real* bias, Range rows) {
    const Index length = Rows(pass.units).length;
    Index sum = 0;
    if (pass.units.inner == 1) {
        for (Index row = rows.begin; row < rows.end; ++row) {
            sum += Row()(pass, row * length, BiasOfEach<Real>{bias});
        }
    } else {
        for (Index row = rows.begin; row < rows.end; ++row) {
            const Index first = row * length;
            sum += Row()(pass, first, BiasOfAll<Real>{bias[pass.units.channel(first)]});
        }
    }
    return sum;
}

template <class Real> struct QuotientsPass {
    LrpUnits units;
    AlphaBeta<Real> rule;
    LrpLayer<Real> layer;
    Real* quotients;
};

// Returns the number of negative quotients other than zero, which one part leaves out.
template <LrpFactor kind, int parts> struct QuotientsRow {
    template <class Real, class Bias>
    BUSAUG_INLINE Index operator()(const QuotientsPass<Real>& pass, Index first,
                                   const Bias& bias) const {
        const AlphaBeta<Real> rule = pass.rule;
        const Index length = Rows(pass.units).length;
        const Real* BUSAUG_RESTRICT positive = pass.layer.positive + first;
        const Real* BUSAUG_RESTRICT linear = pass.layer.linear + first;
        const Real* BUSAUG_RESTRICT factor = pass.layer.factor + first;
        Real* BUSAUG_RESTRICT s_pos = pass.quotients + pass.units.part(first, 0, parts);
        Real* BUSAUG_RESTRICT s_neg = pass.quotients + pass.units.part(first, parts - 1, parts);
        int omitted = 0;
        for (Index i = 0; i < length; ++i) {
            const LrpUnit<Real> unit{positive[i], linear[i], bias(i)};
            const auto s = unit_quotients(rule, unit, unit_relevance<kind>(unit, factor[i]));
            s_pos[i] = s.positive;
            if constexpr (parts == 2) {
                s_neg[i] = s.negative;
            } else {
                omitted += s.negative != Real(0) ? 1 : 0;
            }
        }
        return omitted;
    }
};

template <class Real> struct RectifiedSumPass {
    LrpUnits units;
    const Real* left;
    const Real* right; // or null
    const Real* bias;
    Real* output;
};

template <bool two> struct RectifiedSumRow {
    template <class Real, class Bias>
    BUSAUG_INLINE Index operator()(const RectifiedSumPass<Real>& pass, Index first,
                                   const Bias& bias) const {
        const Index length = Rows(pass.units).length;
        const Real* BUSAUG_RESTRICT left = pass.left + first;
        const Real* BUSAUG_RESTRICT right = pass.right + (two ? first : 0);
        Real* BUSAUG_RESTRICT output = pass.output + first;
        for (Index i = 0; i < length; ++i) {
            if constexpr (two) {
                output[i] = above_zero(left[i] + right[i] + bias(i));
            } else {
                output[i] = above_zero(left[i] + bias(i));
            }
        }
        return 0;
    }
};

template <class Real> struct SplitPass {
    LrpUnits units;
    const Real* inputs;
    Real* split;
};

template <class Real> BUSAUG_INLINE void split_rows(const SplitPass<Real>& pass, Range rows) {
    const Index length = Rows(pass.units).length;
    for (Index row = rows.begin; row < rows.end; ++row) {
        const Index first = row * length;
        const Real* BUSAUG_RESTRICT inputs = pass.inputs + first;
        Real* BUSAUG_RESTRICT positive = pass.split + pass.units.part(first, 0, 2);
        Real* BUSAUG_RESTRICT negative = pass.split + pass.units.part(first, 1, 2);
        for (Index i = 0; i < length; ++i) {
            split_by_sign(inputs[i], positive[i], negative[i]);
        }
    }
}

template <class Real> struct MergePass {
    LrpUnits units;
    const Real* inputs;
    const Real* back;
    Real* merged;
};

template <class Real> BUSAUG_INLINE void merge_rows(const MergePass<Real>& pass, Range rows) {
    const Index length = Rows(pass.units).length;
    for (Index row = rows.begin; row < rows.end; ++row) {
        const Index first = row * length;
        const Real* BUSAUG_RESTRICT inputs = pass.inputs + first;
        const Real* BUSAUG_RESTRICT positive = pass.back + pass.units.part(first, 0, 2);
        const Real* BUSAUG_RESTRICT negative = pass.back + pass.units.part(first, 1, 2);
        Real* BUSAUG_RESTRICT merged = pass.merged + first;
        for (Index i = 0; i < length; ++i) {
            merged[i] = merge_by_sign(inputs[i], positive[i], negative[i]);
        }
    }
}

template <class Real> struct ProductPass {
    LrpImages extent;
    const Real* left;
    const Real* right;
    Real* product;
    LrpSums* sums;
};

// Lanes fix the order of the additions, so that every vector width gives the same bits.
struct LaneSums {
    static constexpr int lanes = 16;

    BUSAUG_INLINE void add(int lane, double value) {
        sum[lane] += value;
        magnitude[lane] += std::abs(value);
    }

    double sum[lanes] = {};
    double magnitude[lanes] = {};
};

template <class Real>
BUSAUG_INLINE LrpSums multiply_and_sum(Index count, const Real* BUSAUG_RESTRICT left,
                                       const Real* BUSAUG_RESTRICT right,
                                       Real* BUSAUG_RESTRICT product) {
    constexpr int lanes = LaneSums::lanes;
    LaneSums sums;
    Index i = 0;
    for (; i + lanes <= count; i += lanes) {
        for (int lane = 0; lane < lanes; ++lane) {
            product[i + lane] = left[i + lane] * right[i + lane];
            sums.add(lane, static_cast<double>(product[i + lane]));
        }
    }
    for (int lane = 0; i < count; ++i, ++lane) {
        product[i] = left[i] * right[i];
        sums.add(lane, static_cast<double>(product[i]));
    }
    return {std::accumulate(sums.sum, sums.sum + lanes, 0.0),
            std::accumulate(sums.magnitude, sums.magnitude + lanes, 0.0)};
}

// `range` counts blocks, through all images.
template <class Real>
BUSAUG_INLINE void product_blocks(const ProductPass<Real>& pass, Range range) {
    for (Index block = range.begin; block < range.end; ++block) {
        const Index begin = pass.extent.begin(block);
        pass.sums[block] = multiply_and_sum(pass.extent.end(block) - begin, pass.left + begin,
                                            pass.right + begin, pass.product + begin);
    }
}

// The loops above, compiled for one instruction set.
template <class Real> struct Kernels {
    template <class Pass, class Result = void> using Loop = Result (*)(const Pass&, Range);

    Loop<QuotientsPass<Real>, Index> quotients[3][2]; // by factor and parts
    Loop<RectifiedSumPass<Real>> rectified[2];        // by inputs
    Loop<SplitPass<Real>> split;
    Loop<MergePass<Real>> merge;
    Loop<ProductPass<Real>> product;
};

#define BUSAUG_KERNELS(name, attribute)                                                            \
    template <class Real> struct name {                                                            \
        template <LrpFactor kind, int parts>                                                       \
        attribute static Index quotients(const QuotientsPass<Real>& pass, Range rows) {            \
            return for_each_row<QuotientsRow<kind, parts>>(pass, pass.layer.bias, rows);           \
        }                                                                                          \
        template <bool two>                                                                        \
        attribute static void rectified(const RectifiedSumPass<Real>& pass, Range rows) {          \
            for_each_row<RectifiedSumRow<two>>(pass, pass.bias, rows);                             \
        }                                                                                          \
        attribute static void split(const SplitPass<Real>& pass, Range rows) {                     \
            split_rows(pass, rows);                                                                \
        }                                                                                          \
        attribute static void merge(const MergePass<Real>& pass, Range rows) {                     \
            merge_rows(pass, rows);                                                                \
        }                                                                                          \
        attribute static void product(const ProductPass<Real>& pass, Range blocks) {               \
            product_blocks(pass, blocks);                                                          \
        }                                                                                          \
        static constexpr Kernels<Real> table{                                                      \
            {{quotients<LrpFactor::relevance, 1>, quotients<LrpFactor::relevance, 2>},             \
             {quotients<LrpFactor::gradient, 1>, quotients<LrpFactor::gradient, 2>},               \
             {quotients<LrpFactor::rectified_gradient, 1>,                                         \
              quotients<LrpFactor::rectified_gradient, 2>}},                                       \
            {rectified<false>, rectified<true>},                                                   \
            split,                                                                                 \
            merge,                                                                                 \
            product};                                                                              \
    };

BUSAUG_SIMD_LEVELS(BUSAUG_KERNELS)
#undef BUSAUG_KERNELS

#define BUSAUG_ROW(name, attribute) name<Real>::table,
template <class Real> constexpr Kernels<Real> tables[] = {BUSAUG_SIMD_LEVELS(BUSAUG_ROW)};
#undef BUSAUG_ROW

template <class Real> const Kernels<Real>& kernels(const OnCpu& where) {
    require(where.threads > 0, "lrp: threads must be positive");
    return tables<Real>[simd_level(where.simd)];
}

// Calls work(range) for all of `count` things with so many elements each.
template <class Work>
void share_out(Index count, Index elements_each, const OnCpu& where, const Work& work) {
    const Index useful = std::max<Index>(1, count * elements_each / minimum_elements_per_thread);
    parallel_for(count, static_cast<int>(std::min<Index>(where.threads, useful)), work);
}

template <class Pass>
void share_out_rows(const LrpUnits& units, const OnCpu& where, const Pass& pass,
                    void (*loop)(const Pass&, Range)) {
    const Rows rows(units);
    share_out(rows.count, rows.length, where, [&](Range range) { loop(pass, range); });
}

} // namespace

void check_lrp(const LrpUnits& units) {
    require(units.outer >= 0 && units.channels > 0 && units.inner > 0,
            "lrp: extents must be positive");
}

void check_lrp(const LrpRule& rule) {
    require(rule.beta >= 0.0 && std::abs(rule.alpha - rule.beta - 1.0) <= 1e-9,
            "lrp: alpha - beta is not 1, or beta is negative");
    require(rule.rounding >= 0.0, "lrp: rounding must not be negative");
    require(rule.factor == LrpFactor::relevance || rule.factor == LrpFactor::gradient ||
                rule.factor == LrpFactor::rectified_gradient,
            "lrp: no such factor");
    require(rule.parts == 1 || rule.parts == 2, "lrp: parts is neither 1 nor 2");
}

void check_lrp(const LrpImages& extent) {
    require(extent.images >= 0 && extent.elements > 0 && extent.blocks > 0,
            "lrp: extents must be positive");
}

template <class Real>
Index lrp_quotients(const LrpUnits& units, const LrpRule& rule, const LrpLayer<Real>& layer,
                    Real* quotients, const OnCpu& where) {
    check_lrp(units);
    check_lrp(rule);
    const auto loop = kernels<Real>(where).quotients[static_cast<std::size_t>(rule.factor)]
                                                    [static_cast<std::size_t>(rule.parts - 1)];
    const QuotientsPass<Real> pass{
        units,
        alpha_beta<Real>(rule.alpha, rule.beta, rule.zero_part, rule.absorb_bias, rule.rounding),
        layer, quotients};
    const Rows rows(units);
    std::atomic<Index> omitted{0};
    share_out(rows.count, rows.length, where, [&](Range range) { omitted += loop(pass, range); });
    return omitted;
}

template <class Real>
void lrp_rectified_sum(const LrpUnits& units, const Real* left, const Real* right, const Real* bias,
                       Real* output, const OnCpu& where) {
    check_lrp(units);
    share_out_rows(units, where, RectifiedSumPass<Real>{units, left, right, bias, output},
                   kernels<Real>(where).rectified[right == nullptr ? 0 : 1]);
}

template <class Real>
void lrp_split(const LrpUnits& units, const Real* inputs, Real* split, const OnCpu& where) {
    check_lrp(units);
    share_out_rows(units, where, SplitPass<Real>{units, inputs, split}, kernels<Real>(where).split);
}

template <class Real>
void lrp_merge(const LrpUnits& units, const Real* inputs, const Real* back, Real* merged,
               const OnCpu& where) {
    check_lrp(units);
    share_out_rows(units, where, MergePass<Real>{units, inputs, back, merged},
                   kernels<Real>(where).merge);
}

template <class Real>
void lrp_product(const LrpImages& extent, const Real* left, const Real* right, Real* product,
                 LrpSums* sums, const OnCpu& where) {
    check_lrp(extent);
    const auto loop = kernels<Real>(where).product;
    const ProductPass<Real> pass{extent, left, right, product, sums};
    share_out(extent.all_blocks(), extent.block(), where, [&](Range range) { loop(pass, range); });
}

#define BUSAUG_INSTANTIATE(Real)                                                                   \
    template Index lrp_quotients(const LrpUnits&, const LrpRule&, const LrpLayer<Real>&, Real*,    \
                                 const OnCpu&);                                                    \
    template void lrp_rectified_sum(const LrpUnits&, const Real*, const Real*, const Real*, Real*, \
                                    const OnCpu&);                                                 \
    template void lrp_split(const LrpUnits&, const Real*, Real*, const OnCpu&);                    \
    template void lrp_merge(const LrpUnits&, const Real*, const Real*, Real*, const OnCpu&);       \
    template void lrp_product(const LrpImages&, const Real*, const Real*, Real*, LrpSums*,         \
                              const OnCpu&);

BUSAUG_INSTANTIATE(float)
BUSAUG_INSTANTIATE(double)

} // namespace busaug
