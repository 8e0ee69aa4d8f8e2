#include "core/kernels/reference/reference.h"

namespace apotnet {

void ReferenceUpdate::sgd(const Tensor& gradient, const SgdSettings& settings, Tensor& parameter,
                          Tensor& velocity) const {
  dispatch_float(parameter.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto rate = static_cast<Float>(settings.learning_rate), momentum = static_cast<Float>(settings.momentum),
               decay = static_cast<Float>(settings.weight_decay);
    const auto g = gradient.data<Float>();
    const auto p = parameter.data<Float>(), v = velocity.data<Float>();
    for (size_t i = 0; i < p.size(); ++i) {
      v[i] = momentum * v[i] + (g[i] + decay * p[i]);
      p[i] -= rate * v[i];
    }
  });
}

void ReferenceUpdate::sgd_all(const std::vector<SgdItem>& items, const Tensor& rates) const {
  dispatch_float(rates.dtype(), [&](auto zero) {
    for (SgdItem item : items) {
      const double rate = rates.data<decltype(zero)>()[static_cast<size_t>(item.group)];
      sgd(item.gradient, {rate, item.momentum, item.weight_decay}, item.parameter, item.velocity);
      if (!item.squares.defined()) continue;
      const auto g = item.gradient.data<decltype(zero)>(), squares = item.squares.data<decltype(zero)>();
      for (size_t i = 0; i < g.size(); ++i) squares[i] += g[i] * g[i];
    }
  });
}

}  // namespace apotnet
