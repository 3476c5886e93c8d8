#include "convolution.hpp"

#include "busaug/api.hpp"
#include "busaug/status.hpp"
#include "simd.hpp"

#include <memory>
#include <new>

namespace busaug {

const ConvolutionKernels* convolution_kernels(const std::string& simd) {
    const std::string level = simd == "auto" ? simd_in_use() : simd_levels()[simd_level(simd)];
#if defined(BUSAUG_X86)
    if (level == "avx512") {
        return &convolution_avx512;
    }
    if (level == "avx2" && __builtin_cpu_supports("fma") != 0) {
        return &convolution_avx2;
    }
#endif
    return nullptr;
}

bool has_convolutions(const std::string& simd) { return convolution_kernels(simd) != nullptr; }

const ConvolutionKernels& required_kernels(const std::string& simd) {
    const ConvolutionKernels* const found = convolution_kernels(simd);
    require(found != nullptr, "convolutions need AVX2 and fused multiply-adds, or AVX-512");
    return *found;
}

void check_channels(Index in, Index out) {
    require(in > 0 && out > 0 && in % panel == 0 && out % panel == 0,
            "channels of a convolution must be a multiple of 16");
}

float* scratch(Index size) {
    struct Free {
        void operator()(float* array) const { ::operator delete[](array, std::align_val_t{64}); }
    };
    thread_local std::unique_ptr<float[], Free> array;
    thread_local Index held = 0;
    if (held < size) {
        array.reset();
        const auto bytes = static_cast<std::size_t>(size) * sizeof(float);
        array.reset(
            static_cast<float*>(::operator new[](bytes, std::align_val_t{64}, std::nothrow)));
        held = array ? size : 0;
    }
    return array.get();
}

} // namespace busaug
