#include "bindings.hpp"
#include "busaug/api.hpp"

namespace busaug::bindings {
namespace {

using Extent = std::array<Index, 2>; // of a weight: out, in

template <class Pack>
void pack(Pack&& packing, Address weight, Address packed, const Extent& extent, bool transposed) {
    require(weight != 0 && packed != 0, "null pointers");
    const py::gil_scoped_release unlocked;
    packing({extent[0], extent[1]}, pointer<const float>(weight), transposed,
            pointer<float>(packed));
}

void pack_3x3(Address weight, Address packed, const Extent& extent, bool transposed) {
    pack(winograd_pack, weight, packed, extent, transposed);
}

void pack_1x1(Address weight, Address packed, const Extent& extent, bool transposed) {
    pack(pointwise_pack, weight, packed, extent, transposed);
}

void require_arrays(Index images, Address input, Address packed, Address output) {
    require(images == 0 || (input != 0 && packed != 0 && output != 0 && input != output),
            "null or equal pointers");
}

void winograd(Address images, Address gate, Address packed, Address bias, Address output,
              const std::array<Index, 5>& shape, bool rectify, int threads,
              const std::string& simd) {
    require_arrays(shape[0], images, packed, output);
    const WinogradParams params{shape[0], shape[1], shape[2], shape[3], shape[4], rectify};
    const py::gil_scoped_release unlocked;
    winograd_cpu(params,
                 {pointer<const float>(images), pointer<const float>(gate),
                  pointer<const float>(packed), pointer<const float>(bias), pointer<float>(output)},
                 threads, simd);
}

void pointwise(Address images, Address gate, Address packed, Address bias, Address addend,
               Address addend_gate, Address output, const std::array<Index, 3>& shape, bool rectify,
               int threads, const std::string& simd) {
    require_arrays(shape[0], images, packed, output);
    const PointwiseParams params{shape[0], shape[1], shape[2], rectify};
    const py::gil_scoped_release unlocked;
    pointwise_cpu(params,
                  {pointer<const float>(images), pointer<const float>(gate),
                   pointer<const float>(packed), pointer<const float>(bias),
                   pointer<const float>(addend), pointer<const float>(addend_gate),
                   pointer<float>(output)},
                  threads, simd);
}

} // namespace

void bind_convolution(py::module_& module) {
    module.def("has_convolutions", &has_convolutions, py::kw_only(), "simd"_a);
    module.def("winograd_pack", &pack_3x3, py::kw_only(), number("weight"), number("packed"),
               "extent"_a, "transposed"_a);
    module.def("pointwise_pack", &pack_1x1, py::kw_only(), number("weight"), number("packed"),
               "extent"_a, "transposed"_a);
    module.def("winograd_cpu", &winograd, py::kw_only(), number("images"), number("gate"),
               number("packed"), number("bias"), number("output"), "shape"_a, "rectify"_a,
               "threads"_a, "simd"_a);
    module.def("pointwise_cpu", &pointwise, py::kw_only(), number("images"), number("gate"),
               number("packed"), number("bias"), number("addend"), number("addend_gate"),
               number("output"), "shape"_a, "rectify"_a, "threads"_a, "simd"_a);
}

} // namespace busaug::bindings
