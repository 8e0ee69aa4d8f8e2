#include "core/kernels/reference/reference.h"

namespace apotnet {

void ReferenceElementwise::relu(const Tensor& x, Tensor& y) const {
  dispatch_float(x.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto xs = x.data<Float>();
    // Written so that NaN stays NaN and a divergence is seen.
    for (size_t i = 0; i < xs.size(); ++i) y.data<Float>()[i] = xs[i] < 0 ? Float(0) : xs[i];
  });
}

void ReferenceElementwise::relu_backward(const Tensor& gy, const Tensor& y, Tensor& gx) const {
  dispatch_float(y.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto gys = gy.data<Float>(), ys = y.data<Float>();
    for (size_t i = 0; i < ys.size(); ++i) gx.data<Float>()[i] = ys[i] > 0 ? gys[i] : Float(0);
  });
}

void ReferenceElementwise::relu6(const Tensor& x, Tensor& y) const {
  dispatch_float(x.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto xs = x.data<Float>();
    for (size_t i = 0; i < xs.size(); ++i) y.data<Float>()[i] = xs[i] < 0 ? Float(0) : xs[i] > 6 ? Float(6) : xs[i];
  });
}

void ReferenceElementwise::relu6_backward(const Tensor& gy, const Tensor& y, Tensor& gx) const {
  dispatch_float(y.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto gys = gy.data<Float>(), ys = y.data<Float>();
    for (size_t i = 0; i < ys.size(); ++i) gx.data<Float>()[i] = ys[i] > 0 && ys[i] < 6 ? gys[i] : Float(0);
  });
}

void ReferenceElementwise::add(const Tensor& a, const Tensor& b, Tensor& y) const {
  dispatch_float(y.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto as = a.data<Float>(), bs = b.data<Float>();
    for (size_t i = 0; i < as.size(); ++i) y.data<Float>()[i] = as[i] + bs[i];
  });
}

void ReferenceElementwise::accumulate(const Tensor& x, Tensor& y) const { add(x, y, y); }

void ReferenceElementwise::scale(const Tensor& x, double factor, Tensor& y) const {
  dispatch_float(x.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto xs = x.data<Float>();
    for (size_t i = 0; i < xs.size(); ++i) y.data<Float>()[i] = xs[i] * static_cast<Float>(factor);
  });
}

}  // namespace apotnet
