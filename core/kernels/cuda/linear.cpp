#include "core/kernels/cuda/gemm.h"
#include "core/kernels/cuda/kernels.h"

namespace apotnet::cuda {
namespace {

// c = op(a) op(b); the sizes are those of the result and of the sum.
void product(const Tensor& a, bool transpose_a, const Tensor& b, bool transpose_b, int64_t m, int64_t n, int64_t k,
             Tensor& c) {
  Context& context = Context::get();
  context.record({"product of matrices", a.bytes() + b.bytes(), c.bytes()});
  Scratch<std::byte> workspace(kGemmWorkspace);
  gemm(context.stream().get(), describe_gemm(Arithmetic::f32, m, n, k, transpose_a, transpose_b), input<float>(a),
       input<float>(b), output<float>(c), workspace.data(), kGemmWorkspace);
}

}  // namespace

void CudaLinear::linear(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y) const {
  product(x, false, w, true, x.size(0), w.size(0), x.size(1), y);
  launch_add_bias(b, y);
}

void CudaLinear::linear_backward(const Tensor& gy, const Tensor& x, const Tensor& w, Tensor& gx, Tensor& gw,
                                 Tensor& gb) const {
  product(gy, false, w, false, x.size(0), x.size(1), w.size(0), gx);
  product(gy, true, x, false, w.size(0), w.size(1), x.size(0), gw);
  launch_channel_sums(gy, gb);
}

}  // namespace apotnet::cuda
