#include "convolution_kernels.hpp"

namespace busaug {

const ConvolutionKernels convolution_avx512{gate, transform_input, product, transform_output};

} // namespace busaug
