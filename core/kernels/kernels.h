#pragma once

#include <string_view>

#include "core/kernels/batch.h"
#include "core/kernels/codes.h"
#include "core/kernels/conv.h"
#include "core/kernels/elementwise.h"
#include "core/kernels/fused.h"
#include "core/kernels/linear.h"
#include "core/kernels/loss.h"
#include "core/kernels/norm.h"
#include "core/kernels/pool.h"
#include "core/kernels/quantize.h"
#include "core/kernels/update.h"

namespace apotnet {

/// What a back end must be able to compute: one object per family of the contract. Outputs are the Tensor& and
/// Quantized& arguments; they come with their final shape and type, and every element is written.
struct Kernels {
  std::string_view name;
  const ConvKernels* conv;
  const NormKernels* norm;
  const QuantizeKernels* quantize;
  const FusedKernels* fused;
  const ElementwiseKernels* elementwise;
  const PoolKernels* pool;
  const LinearKernels* linear;
  const LossKernels* loss;
  const UpdateKernels* update;
  const BatchKernels* batch;
  const CodesKernels* codes;

  template <typename Family>
  const Family& family() const {
    if constexpr (std::is_same_v<Family, ConvKernels>) return *conv;
    if constexpr (std::is_same_v<Family, NormKernels>) return *norm;
    if constexpr (std::is_same_v<Family, QuantizeKernels>) return *quantize;
    if constexpr (std::is_same_v<Family, FusedKernels>) return *fused;
    if constexpr (std::is_same_v<Family, ElementwiseKernels>) return *elementwise;
    if constexpr (std::is_same_v<Family, PoolKernels>) return *pool;
    if constexpr (std::is_same_v<Family, LinearKernels>) return *linear;
    if constexpr (std::is_same_v<Family, LossKernels>) return *loss;
    if constexpr (std::is_same_v<Family, UpdateKernels>) return *update;
    if constexpr (std::is_same_v<Family, BatchKernels>) return *batch;
    if constexpr (std::is_same_v<Family, CodesKernels>) return *codes;
  }
};

/// Plain loops in float or double: the definition of every computation, and the oracle of every test.
const Kernels& reference_kernels();
/// SIMD and oneDNN for float32 where it costs time, the reference elsewhere.
const Kernels& cpu_kernels();
/// cuDNN, cuBLAS and own kernels, for tensors on a CUDA device. Error(unavailable) in a build without CUDA.
const Kernels& cuda_kernels();

}  // namespace apotnet
