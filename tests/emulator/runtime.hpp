// What the driver asks of the emulated runtime.
#pragma once

namespace emulator {

constexpr int device_asked_for = 1;
void* stream_asked_for();
int device_in_use();

} // namespace emulator
