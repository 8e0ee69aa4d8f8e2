#pragma once

#include <cstddef>
#include <cstdint>

#include "core/kernels/cuda/convolution_plan.h"
#include "core/tensor/dtype.h"

namespace apotnet::cuda {

/// A product of matrices stored row by row, as C++ arrays are: c = op(a) op(b), or c += op(a) op(b).
/// op(a) is [m, k], op(b) is [k, n], c is [m, n]; op transposes where asked, so that a transposed `a` is stored [k, m].
/// A leading dimension is the number of elements from one stored row to the next.
struct GemmDescription {
  int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false;
  int64_t a_stride = 0, b_stride = 0, c_stride = 0;  // leading dimensions, at least the length of a stored row
  Arithmetic arithmetic = Arithmetic::f32;           // bf16: a and b are bf16, else f32
  DType output = DType::f32;                         // f32, or bf16 where a and b are

  int64_t a_columns() const { return transpose_a ? m : k; }
  int64_t b_columns() const { return transpose_b ? k : n; }
};

/// For matrices without gaps between their rows.
GemmDescription describe_gemm(Arithmetic arithmetic, int64_t m, int64_t n, int64_t k, bool transpose_a,
                              bool transpose_b);

/// Error(internal) naming what contradicts itself: an empty size, a leading dimension below the row, a type.
void check_description(const GemmDescription& description);

/// Device memory that gemm() wants, aligned to 256: enough for every device so far. With less it may be slower.
inline constexpr size_t kGemmWorkspace = size_t{32} << 20;

/// Launches the product on `stream`; may be captured once one call has run outside a capture (it opens the library).
/// Same sizes, workspace and device: the same bits. Error(unavailable) without the library.
void gemm(cudaStream_t stream, const GemmDescription& description, const void* a, const void* b, void* c,
          void* workspace, size_t workspace_bytes);

}  // namespace apotnet::cuda
