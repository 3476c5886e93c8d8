// The kernels of convolution_avx512.cpp, run by halves.
#include "avx512.hpp"

#include "convolution_avx512.cpp"
