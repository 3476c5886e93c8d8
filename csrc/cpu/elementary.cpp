#include "busaug/elementary.hpp"

#include "busaug/api.hpp"
#include "simd.hpp"

namespace busaug {
namespace {

template <class Real> struct Kernels {
    void (*exponential)(const Real*, Index, Real*);
    void (*logarithm)(const Real*, Index, Real*);
};

#define BUSAUG_KERNELS(name, attribute)                                                            \
    template <class Real> struct name {                                                            \
        attribute static void exp(const Real* BUSAUG_RESTRICT x, Index count,                      \
                                  Real* BUSAUG_RESTRICT y) {                                       \
            for (Index i = 0; i < count; ++i) {                                                    \
                y[i] = exponential(x[i]);                                                          \
            }                                                                                      \
        }                                                                                          \
        attribute static void log(const Real* BUSAUG_RESTRICT x, Index count,                      \
                                  Real* BUSAUG_RESTRICT y) {                                       \
            for (Index i = 0; i < count; ++i) {                                                    \
                y[i] = logarithm(x[i]);                                                            \
            }                                                                                      \
        }                                                                                          \
        static constexpr Kernels<Real> table{exp, log};                                            \
    };

BUSAUG_SIMD_LEVELS(BUSAUG_KERNELS)
#undef BUSAUG_KERNELS

#define BUSAUG_ROW(name, attribute) name<Real>::table,
template <class Real> constexpr Kernels<Real> tables[] = {BUSAUG_SIMD_LEVELS(BUSAUG_ROW)};
#undef BUSAUG_ROW

} // namespace

template <class Real>
void elementary_cpu(Elementary function, Index count, const Real* input, Real* output,
                    const std::string& simd) {
    const Kernels<Real>& kernels = tables<Real>[simd_level(simd)];
    (function == Elementary::exponential ? kernels.exponential : kernels.logarithm)(input, count,
                                                                                    output);
}

template void elementary_cpu(Elementary, Index, const float*, float*, const std::string&);
template void elementary_cpu(Elementary, Index, const double*, double*, const std::string&);

} // namespace busaug
