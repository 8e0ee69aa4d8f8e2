// Takes the place of gemm_cublas.cpp.
#include <vector>

#include "core/kernels/cuda/gemm.h"
#include "tests/emulation/runtime.h"
#include "tests/emulation/vendor_checks.h"

namespace apotnet::cuda {

void gemm(cudaStream_t stream, const GemmDescription& d, const void* a, const void* b, void* c, void* workspace,
          size_t workspace_bytes) {
  check_description(d);
  const DType factor = d.arithmetic == Arithmetic::bf16 ? DType::bf16 : DType::f32;
  const auto reach = [](int64_t rows, int64_t columns, int64_t stride, DType dtype) {
    return static_cast<size_t>((rows - 1) * stride + columns) * size_of(dtype);
  };
  const int64_t a_rows = d.transpose_a ? d.k : d.m, b_rows = d.transpose_b ? d.n : d.k;
  emulation::require_device_memory(a, reach(a_rows, d.a_columns(), d.a_stride, factor), "matrix a");
  emulation::require_device_memory(b, reach(b_rows, d.b_columns(), d.b_stride, factor), "matrix b");
  emulation::require_device_memory(c, reach(d.m, d.n, d.c_stride, d.output), "matrix c");
  emulation::require_device_memory(workspace, workspace_bytes, "the workspace of a product of matrices");
  const auto call = [=] {
    for (int64_t row = 0; row < d.m; ++row)
      for (int64_t column = 0; column < d.n; ++column) {
        double sum = 0;
        for (int64_t i = 0; i < d.k; ++i) {
          const int64_t at_a = d.transpose_a ? i * d.a_stride + row : row * d.a_stride + i,
                        at_b = d.transpose_b ? column * d.b_stride + i : i * d.b_stride + column;
          sum += emulation::rounded(emulation::read(a, factor, at_a), d.arithmetic) *
                 emulation::rounded(emulation::read(b, factor, at_b), d.arithmetic);
        }
        emulation::write(c, d.output, row * d.c_stride + column, sum);
      }
  };
  emulation::require_success(emulation::enqueue_library_call("gemm", stream, call));
}

}  // namespace apotnet::cuda
