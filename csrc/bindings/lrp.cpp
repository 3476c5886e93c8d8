#include "bindings.hpp"
#include "busaug/api.hpp"

#include <initializer_list>

namespace busaug::bindings {
namespace {

using Extents = std::array<Index, 3>;

LrpUnits units_of(const Extents& units) {
    const LrpUnits checked{units[0], units[1], units[2]};
    check_lrp(checked);
    return checked;
}

// An empty batch has no memory.
void require_pointers(Index outer, std::initializer_list<Address> addresses) {
    for (const Address address : addresses) {
        require(outer == 0 || address != 0, "lrp: null pointer");
    }
}

// Each of these is bound once a kind of `Where`, OnCpu and OnCuda.

template <class Where>
Index quotients(const Where& where, Address positive, Address linear, Address bias, Address factor,
                Address quotients, const std::string& dtype, const Extents& extents, double alpha,
                double beta, double rounding, bool zero_part, bool absorb_bias, int factor_kind,
                int parts) {
    const LrpUnits units = units_of(extents);
    const LrpRule rule{
        alpha, beta, rounding, zero_part, absorb_bias, static_cast<LrpFactor>(factor_kind), parts};
    check_lrp(rule);
    require_pointers(units.outer, {positive, linear, bias, factor, quotients});
    return with_dtype(dtype, [&](auto real) {
        using Real = decltype(real);
        const py::gil_scoped_release unlocked;
        const LrpLayer<Real> layer{pointer<const Real>(positive), pointer<const Real>(linear),
                                   pointer<const Real>(bias), pointer<const Real>(factor)};
        return lrp_quotients(units, rule, layer, pointer<Real>(quotients), where);
    });
}

template <class Where>
void rectified_sum(const Where& where, Address left, Address right, Address bias, Address output,
                   const std::string& dtype, const Extents& extents) {
    const LrpUnits units = units_of(extents);
    require_pointers(units.outer, {left, bias, output});
    with_dtype(dtype, [&](auto real) {
        using Real = decltype(real);
        const py::gil_scoped_release unlocked;
        lrp_rectified_sum(units, pointer<const Real>(left), pointer<const Real>(right),
                          pointer<const Real>(bias), pointer<Real>(output), where);
    });
}

template <class Where>
void split(const Where& where, Address inputs, Address split, const std::string& dtype,
           const Extents& extents) {
    const LrpUnits units = units_of(extents);
    require_pointers(units.outer, {inputs, split});
    with_dtype(dtype, [&](auto real) {
        using Real = decltype(real);
        const py::gil_scoped_release unlocked;
        lrp_split(units, pointer<const Real>(inputs), pointer<Real>(split), where);
    });
}

template <class Where>
void merge(const Where& where, Address inputs, Address back, Address merged,
           const std::string& dtype, const Extents& extents) {
    const LrpUnits units = units_of(extents);
    require_pointers(units.outer, {inputs, back, merged});
    with_dtype(dtype, [&](auto real) {
        using Real = decltype(real);
        const py::gil_scoped_release unlocked;
        lrp_merge(units, pointer<const Real>(inputs), pointer<const Real>(back),
                  pointer<Real>(merged), where);
    });
}

template <class Where>
void product(const Where& where, Address left, Address right, Address product, Address sums,
             const std::string& dtype, const Extents& extents) {
    const LrpImages images{extents[0], extents[1], extents[2]};
    check_lrp(images);
    require_pointers(images.images, {left, right, product, sums});
    with_dtype(dtype, [&](auto real) {
        using Real = decltype(real);
        const py::gil_scoped_release unlocked;
        lrp_product(images, pointer<const Real>(left), pointer<const Real>(right),
                    pointer<Real>(product), pointer<LrpSums>(sums), where);
    });
}

// A step as Python calls it: the place it runs at comes last, in two plain arguments.
template <class Result, class... Arguments>
auto placed(Result (*step)(const OnCpu&, Arguments...)) {
    return [step](Arguments... arguments, int threads, const std::string& simd) {
        return step(OnCpu{threads, simd}, arguments...);
    };
}
template <class Result, class... Arguments>
auto placed(Result (*step)(const OnCuda&, Arguments...)) {
    return [step](Arguments... arguments, int device, Address stream) {
        return step(OnCuda{device, pointer<void>(stream)}, arguments...);
    };
}

// `place` holds the names of those two arguments.
template <class Where, class... Place>
void bind_steps(py::module_& module, const std::string& suffix, const Place&... place) {
    const auto define = [&](const std::string& name, auto step, const auto&... arguments) {
        module.def((name + suffix).c_str(), placed(step), py::kw_only(), arguments..., place...);
    };
    define("lrp_quotients", &quotients<Where>, number("positive"), number("linear"), number("bias"),
           number("factor"), number("quotients"), "dtype"_a, "extents"_a, "alpha"_a, "beta"_a,
           "rounding"_a, "zero_part"_a, "absorb_bias"_a, "factor_kind"_a, "parts"_a);
    define("lrp_rectified_sum", &rectified_sum<Where>, number("left"), number("right"),
           number("bias"), number("output"), "dtype"_a, "extents"_a);
    define("lrp_split", &split<Where>, number("inputs"), number("split"), "dtype"_a, "extents"_a);
    define("lrp_merge", &merge<Where>, number("inputs"), number("back"), number("merged"),
           "dtype"_a, "extents"_a);
    define("lrp_product", &product<Where>, number("left"), number("right"), number("product"),
           number("sums"), "dtype"_a, "extents"_a);
}

} // namespace

void bind_lrp(py::module_& module) {
    bind_steps<OnCpu>(module, "_cpu", "threads"_a, "simd"_a);
#if defined(BUSAUG_WITH_CUDA)
    bind_steps<OnCuda>(module, "_cuda", "device"_a, number("stream"));
#endif
}

} // namespace busaug::bindings
