// float16 as it is stored.
#pragma once

#include <cstdint>
#include <cstring>

struct __half {
    std::uint16_t bits;
};

namespace emulator {
inline float value_of(__half half) {
    _Float16 value;
    std::memcpy(&value, &half, sizeof value);
    return static_cast<float>(value);
}
} // namespace emulator
