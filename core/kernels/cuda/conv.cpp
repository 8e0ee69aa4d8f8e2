#include "core/kernels/call.h"
#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/plans.h"
#include "core/kernels/cuda/step/step_kernels.h"

namespace apotnet::cuda {
namespace {

// Codes of magnitude up to 2048 pass tf32 unrounded, and sums of their products below this are exact in float32. (cuDNN
// has no kernel that reads bf16 and writes f32, and bf16 would round the sums.)
constexpr int64_t kExactSums = int64_t{1} << 24;

void run(ConvolutionOperation operation, Arithmetic arithmetic, const Conv2dGeometry& geometry, const Shape& x,
         const Shape& w, const Tensor& first, const Tensor& second, Tensor& out) {
  // With few channels in a group tensor cores have nothing to multiply, and cuDNN copies the tensors for them.
  if (geometry.groups > 1) arithmetic = Arithmetic::f32;
  const ConvolutionPlan& plan = plan_for(describe_convolution(operation, arithmetic, x, w, geometry, DType::f32));
  Context& context = Context::get();
  context.record({operation == ConvolutionOperation::forward          ? "convolution"
                  : operation == ConvolutionOperation::input_gradient ? "convolution input gradient"
                                                                      : "convolution weight gradient",
                  first.bytes() + second.bytes(), out.bytes()});
  Scratch<std::byte> workspace(plan.workspace());
  plan.run(context.stream().get(), first.raw(), second.raw(), output<float>(out), workspace.data());
}

// Where every call is compared with the reference, gradients are not rounded either.
Arithmetic gradient_arithmetic() {
  return selected_backend() == Backend::checked ? Arithmetic::f32 : Context::get().gradient_arithmetic();
}

Tensor widened(const Quantized& q) {
  if (!q.exact()) return q.codes;
  Tensor numbers(q.shape(), DType::f32, kCuda);
  launch_widen(q.codes, numbers);
  return numbers;
}

bool sums_fit(const Quantized& x, const Quantized& w) {
  const int64_t terms = w.shape()[1] * w.shape()[2] * w.shape()[3];
  return x.levels->k() * w.levels->k() * terms < kExactSums;
}

// The sums of products of codes; true where y has yet to be scaled by the steps.
bool sums_of_codes(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry, Tensor& y) {
  const bool exact = x.exact() && w.exact();
  if (exact && !sums_fit(x, w)) {
    launch_integer_convolution(x, w, geometry, y);
    return false;
  }
  run(ConvolutionOperation::forward, exact ? Arithmetic::tf32 : Arithmetic::f32, geometry, x.shape(), w.shape(),
      widened(x), widened(w), y);
  return true;
}

}  // namespace

void CudaConv::conv2d(const Tensor& x, const Tensor& w, const Conv2dGeometry& geometry, Tensor& y) const {
  // The first layer alone: its values decide about codes, so they are not rounded to tf32, and they are those of
  // chains.
  if (fits_image_chain(x.shape(), w.shape(), geometry)) return launch_image_convolution(x, w, geometry, y);
  run(ConvolutionOperation::forward, Arithmetic::f32, geometry, x.shape(), w.shape(), x, w, y);
}

void CudaConv::conv2d_backward_input(const Tensor& gy, const Tensor& w, const Conv2dGeometry& geometry,
                                     Tensor& gx) const {
  run(ConvolutionOperation::input_gradient, gradient_arithmetic(), geometry, gx.shape(), w.shape(), gy, w, gx);
}

void CudaConv::conv2d_backward_weight(const Tensor& gy, const Tensor& x, const Conv2dGeometry& geometry,
                                      Tensor& gw) const {
  if (is_of_images(x.shape(), gw.shape(), geometry)) return launch_image_weight_gradient(gy, x, geometry, gw);
  run(ConvolutionOperation::weight_gradient, gradient_arithmetic(), geometry, x.shape(), gw.shape(), gy, x, gw);
}

void CudaConv::conv2d_codes(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry, Tensor& y) const {
  if (sums_of_codes(x, w, geometry, y)) launch_scale_by(x.step, w.step, y);
}

void CudaConv::conv2d_codes_statistics(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry,
                                       Tensor& y, Tensor& mean, Tensor& variance) const {
  if (sums_of_codes(x, w, geometry, y))
    launch_scale_statistics(x.step, w.step, y, mean, variance);
  else
    CudaNorm().batch_statistics(y, mean, variance);
}

void CudaConv::conv2d_codes_backward_input(const Tensor& gy, const Quantized& w, const Conv2dGeometry& geometry,
                                           Tensor& gx) const {
  Tensor values(w.shape(), DType::f32, kCuda);
  CudaQuantize().dequantize(w, values);
  conv2d_backward_input(gy, values, geometry, gx);
}

void CudaConv::conv2d_codes_backward_weight(const Tensor& gy, const Quantized& x, const Conv2dGeometry& geometry,
                                            Tensor& gw) const {
  // The step comes last: codes pass tf32 unrounded, values would not.
  conv2d_backward_weight(gy, widened(x), geometry, gw);
  launch_scale_by(x.step, {}, gw);
}

}  // namespace apotnet::cuda
