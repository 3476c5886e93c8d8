#include "simd.hpp"

#include "busaug/status.hpp"

namespace busaug {
namespace {

struct Level {
    const char* name;
    bool supported;
};

// In the order of BUSAUG_SIMD_LEVELS.
const std::vector<Level>& levels() {
    static const std::vector<Level> all{
        {"baseline", true},
#if defined(__x86_64__) && defined(__GNUC__)
        {"avx2", __builtin_cpu_supports("avx2") != 0},
        {"avx512", __builtin_cpu_supports("avx512f") != 0 &&
                       __builtin_cpu_supports("avx512vl") != 0 &&
                       __builtin_cpu_supports("avx512dq") != 0},
#endif
    };
    return all;
}

} // namespace

std::size_t simd_level(const std::string& name) {
    for (std::size_t index = levels().size(); index-- > 0;) {
        const Level& level = levels()[index];
        if (level.supported && (name == "auto" || name == level.name)) {
            return index;
        }
    }
    reject("this machine or build has no SIMD level '" + name + "'");
}

std::vector<std::string> simd_levels() {
    std::vector<std::string> names;
    for (const Level& level : levels()) {
        names.emplace_back(level.name);
    }
    return names;
}

std::string simd_in_use() { return levels()[simd_level("auto")].name; }

} // namespace busaug
