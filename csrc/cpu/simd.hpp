// One text of a loop compiled for several instruction sets, the best one taken at run time.
//
// A kernel file stamps its table of functions once a level and picks a row by index:
//
//     #define STAMP(name, attribute) template <class Real> struct name { ... };
//     BUSAUG_SIMD_LEVELS(STAMP)
//     #define ROW(name, attribute) name<Real>::table,
//     template <class Real> constexpr Kernels<Real> tables[] = {BUSAUG_SIMD_LEVELS(ROW)};
//     ... tables<Real>[simd_level(simd)] ...
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__)
#define BUSAUG_SIMD_LEVELS(stamp)                                                                  \
    stamp(Baseline, ) stamp(Avx2, __attribute__((target("avx2"))))                                 \
        stamp(Avx512, __attribute__((target("avx512f,avx512vl,avx512dq"))))
#else
#define BUSAUG_SIMD_LEVELS(stamp) stamp(Baseline, )
#endif

namespace busaug {

// Index of a level in the order of BUSAUG_SIMD_LEVELS; "auto" is the best of this machine. Throws
// std::invalid_argument for a name that this build or machine does not have.
std::size_t simd_level(const std::string& name);

// Instruction sets compiled in, from the plainest on, and the one that "auto" takes here.
std::vector<std::string> simd_levels();
std::string simd_in_use();

} // namespace busaug
