#include "bindings.hpp"
#include "busaug/api.hpp"

namespace busaug::bindings {
namespace {

void gram_difference_cpu(Address products, Address target, Address difference, Address loss,
                         const std::string& dtype, const std::array<Index, 3>& shape, Index block,
                         int threads, const std::string& simd) {
    const GramDifferenceParams params{shape[0], shape[1], shape[2], block};
    check_gram_difference(params);
    require(params.images == 0 || (products != 0 && target != 0 && difference != 0 && loss != 0 &&
                                   difference != products && difference != target),
            "null or equal pointers");
    with_dtype(dtype, [&](auto real) {
        using Real = decltype(real);
        const py::gil_scoped_release unlocked;
        ::busaug::gram_difference_cpu(params, pointer<const Real>(products),
                                      pointer<const Real>(target), pointer<Real>(difference),
                                      pointer<Real>(loss), threads, simd);
    });
}

void inner_products_cpu(Address x, Address y, Address output, const std::string& dtype,
                        const std::array<Index, 2>& shape, int threads, const std::string& simd) {
    require(shape[0] == 0 || ((shape[1] == 0 || (x != 0 && y != 0)) && output != 0),
            "null pointers");
    with_dtype(dtype, [&](auto real) {
        using Real = decltype(real);
        const py::gil_scoped_release unlocked;
        ::busaug::inner_products_cpu(shape[0], shape[1], pointer<const Real>(x),
                                     pointer<const Real>(y), pointer<double>(output), threads,
                                     simd);
    });
}

} // namespace

void bind_mmd(py::module_& module) {
    module.def("gram_difference_cpu", &gram_difference_cpu, py::kw_only(), number("products"),
               number("target"), number("difference"), number("loss"), "dtype"_a, "shape"_a,
               "block"_a, "threads"_a, "simd"_a);
    module.def("inner_products_cpu", &inner_products_cpu, py::kw_only(), number("x"), number("y"),
               number("output"), "dtype"_a, "shape"_a, "threads"_a, "simd"_a);
}

} // namespace busaug::bindings
