#include <vector>

#include "core/kernels/reference/reference.h"

namespace apotnet {

void ReferenceLinear::linear(const Tensor& x, const Tensor& w, const Tensor& b, Tensor& y) const {
  dispatch_float(x.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto inputs = static_cast<size_t>(x.size(1)), outputs = static_cast<size_t>(w.size(0));
    const auto xs = x.data<Float>(), ws = w.data<Float>(), bs = b.data<Float>();
    for (size_t n = 0; n < static_cast<size_t>(x.size(0)); ++n)
      for (size_t o = 0; o < outputs; ++o) {
        double sum = bs[o];
        for (size_t i = 0; i < inputs; ++i) sum += static_cast<double>(xs[n * inputs + i]) * ws[o * inputs + i];
        y.data<Float>()[n * outputs + o] = static_cast<Float>(sum);
      }
  });
}

void ReferenceLinear::linear_backward(const Tensor& gy, const Tensor& x, const Tensor& w, Tensor& gx, Tensor& gw,
                                      Tensor& gb) const {
  dispatch_float(x.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto inputs = static_cast<size_t>(x.size(1)), outputs = static_cast<size_t>(w.size(0));
    const auto gys = gy.data<Float>(), xs = x.data<Float>(), ws = w.data<Float>();
    std::vector<double> sum_x(static_cast<size_t>(gx.elements())), sum_w(ws.size()), sum_b(outputs);
    for (size_t n = 0; n < static_cast<size_t>(x.size(0)); ++n)
      for (size_t o = 0; o < outputs; ++o) {
        const double g = gys[n * outputs + o];
        sum_b[o] += g;
        for (size_t i = 0; i < inputs; ++i) {
          sum_x[n * inputs + i] += g * ws[o * inputs + i];
          sum_w[o * inputs + i] += g * xs[n * inputs + i];
        }
      }
    for (size_t i = 0; i < sum_x.size(); ++i) gx.data<Float>()[i] = static_cast<Float>(sum_x[i]);
    for (size_t i = 0; i < sum_w.size(); ++i) gw.data<Float>()[i] = static_cast<Float>(sum_w[i]);
    for (size_t i = 0; i < sum_b.size(); ++i) gb.data<Float>()[i] = static_cast<Float>(sum_b[i]);
  });
}

}  // namespace apotnet
