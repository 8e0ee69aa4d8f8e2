// Products of matrices by cuBLAS, which stores matrices column by column: read so, a matrix of ours is its transpose,
// and c^T = op(b)^T op(a)^T.
#include <cublas_v2.h>

#include "core/base/error.h"
#include "core/kernels/cuda/gemm.h"
#include "core/kernels/cuda/vendor_library.h"

namespace apotnet::cuda {
namespace {

// The functions of cuBLAS that are used. The header renames them by macros: these are the names in the library.
struct Cublas {
  cublasStatus_t (*create)(cublasHandle_t*);
  cublasStatus_t (*set_stream)(cublasHandle_t, cudaStream_t);
  cublasStatus_t (*set_workspace)(cublasHandle_t, void*, size_t);
  cublasStatus_t (*gemm)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int m, int n, int k, const void* alpha,
                         const void* a, cudaDataType_t, int a_stride, const void* b, cudaDataType_t, int b_stride,
                         const void* beta, void* c, cudaDataType_t, int c_stride, cublasComputeType_t,
                         cublasGemmAlgo_t);
  decltype(&cublasGetStatusString) status_string;
  cublasHandle_t handle = nullptr;

  void check(cublasStatus_t status, const char* what) const {
    if (status != CUBLAS_STATUS_SUCCESS)
      fail(ErrorCategory::unavailable, "cuBLAS: ", what, ": ", status_string(status));
  }
};

Cublas open_cublas() {
  const VendorLibrary& library = cublas_library();
  const auto take = [&library]<typename Function>(Function*& member, const char* name) {
    member = library.function<Function>(name);
  };
  Cublas cublas{};
  take(cublas.create, "cublasCreate_v2");
  take(cublas.set_stream, "cublasSetStream_v2");
  take(cublas.set_workspace, "cublasSetWorkspace_v2");
  take(cublas.gemm, "cublasGemmEx");
  take(cublas.status_string, "cublasGetStatusString");
  cublas.check(cublas.create(&cublas.handle), "opening it on the device");
  return cublas;
}

const Cublas& cublas() {
  static const Cublas opened = open_cublas();
  return opened;
}

cudaDataType_t type_of(DType dtype) {
  require(dtype == DType::f32 || dtype == DType::bf16, "no products of ", name_of(dtype));
  return dtype == DType::f32 ? CUDA_R_32F : CUDA_R_16BF;
}

}  // namespace

void gemm(cudaStream_t stream, const GemmDescription& d, const void* a, const void* b, void* c, void* workspace,
          size_t workspace_bytes) {
  check_description(d);
  const Cublas& library = cublas();
  library.check(library.set_stream(library.handle, stream), "choosing a stream");
  // After the stream, whose choice forgets it.
  library.check(library.set_workspace(library.handle, workspace, workspace_bytes), "giving it memory");
  const float one = 1, kept = 0;
  const cudaDataType_t factor = type_of(d.arithmetic == Arithmetic::bf16 ? DType::bf16 : DType::f32);
  const auto transposed = [](bool transpose) { return transpose ? CUBLAS_OP_T : CUBLAS_OP_N; };
  const auto compute = d.arithmetic == Arithmetic::tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F;
  const auto size = [](int64_t value) { return static_cast<int>(value); };  // check_description() bounds them
  library.check(library.gemm(library.handle, transposed(d.transpose_b), transposed(d.transpose_a), size(d.n), size(d.m),
                             size(d.k), &one, b, factor, size(d.b_stride), a, factor, size(d.a_stride), &kept, c,
                             type_of(d.output), size(d.c_stride), compute, CUBLAS_GEMM_DEFAULT),
                "a product of matrices");
}

}  // namespace apotnet::cuda
