// bfloat16 as it is stored.
#pragma once

#include <cstdint>
#include <cstring>

struct __nv_bfloat16 {
    std::uint16_t bits;
};

namespace emulator {
inline float value_of(__nv_bfloat16 brain) {
    const std::uint32_t wide = static_cast<std::uint32_t>(brain.bits) << 16U;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
}
} // namespace emulator
