#include <algorithm>
#include <cmath>

#include "core/kernels/reference/reference.h"
#include "core/quant/projection.h"

namespace apotnet {
namespace {

// Stores integer codes in whatever type the tensor of codes has.
void store_codes(const std::vector<int64_t>& codes, Tensor& out) {
  dispatch_any(out.dtype(), [&](auto zero) {
    using Code = decltype(zero);
    std::ranges::transform(codes, out.data<Code>().begin(), [](int64_t code) { return static_cast<Code>(code); });
  });
}

template <typename Float>
Float step_of(const Tensor& alpha, const LevelSet& levels) {
  return alpha.data<Float>()[0] / static_cast<Float>(levels.k());
}

// q of the quantizer, the level as a fraction of alpha: code / K.
template <typename Float>
std::vector<Float> fractions(const Quantized& q) {
  std::vector<Float> result(static_cast<size_t>(q.codes.elements()));
  const auto k = static_cast<Float>(q.levels->k());
  dispatch_any(q.codes.dtype(), [&](auto zero) {
    std::ranges::transform(q.codes.data<decltype(zero)>(), result.begin(),
                           [&](auto code) { return static_cast<Float>(code) / k; });
  });
  return result;
}

}  // namespace

void ReferenceQuantize::quantize_weight(const Tensor& w_hat, const Tensor& alpha, Quantized& out) const {
  dispatch_float(w_hat.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const LevelSet& levels = *out.levels;
    const Float a = alpha.data<Float>()[0];
    std::vector<int64_t> codes;
    for (const Float w : w_hat.data<Float>()) {
      const Float z = std::clamp(w / a, Float(-1), Float(1));
      const int64_t code = levels.code_of_half_step(half_steps(std::abs(z), levels.k(), levels.ties_to_lower()));
      codes.push_back(z < 0 ? -code : code);
    }
    store_codes(codes, out.codes);
    out.step.data<Float>()[0] = step_of<Float>(alpha, levels);
  });
}

void ReferenceQuantize::quantize_weight_backward(const Tensor& g, const Tensor& w_hat, const Tensor& alpha,
                                                 const Quantized& out, QuantizerVariant variant, Tensor& gw,
                                                 Tensor& galpha) const {
  dispatch_float(g.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto gs = g.data<Float>(), ws = w_hat.data<Float>();
    const auto gws = gw.data<Float>();
    const std::vector<Float> q = fractions<Float>(out);
    const Float a = alpha.data<Float>()[0];
    const bool clips_gradient = variant == QuantizerVariant::imagenet && out.levels->method() != LevelMethod::ternary;
    double sum = 0;
    for (size_t i = 0; i < gs.size(); ++i) {
      const Float z = ws[i] / a;
      const bool outside = std::abs(z) > 1;
      gws[i] = clips_gradient && outside ? Float(0) : gs[i];
      sum += static_cast<double>(gs[i]) * (outside ? (z > 0 ? 1 : -1) : static_cast<double>(q[i]) - z);
    }
    galpha.data<Float>()[0] = static_cast<Float>(sum);
  });
}

void ReferenceQuantize::quantize_activation(const Tensor& x, const Tensor& alpha, Quantized& out) const {
  dispatch_float(x.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const LevelSet& levels = *out.levels;
    const Float a = alpha.data<Float>()[0];
    std::vector<int64_t> codes;
    for (const Float value : x.data<Float>()) {
      const Float z = std::clamp(value / a, Float(0), Float(1));
      codes.push_back(levels.code_of_half_step(half_steps(z, levels.k(), levels.ties_to_lower())));
    }
    store_codes(codes, out.codes);
    out.step.data<Float>()[0] = step_of<Float>(alpha, levels);
  });
}

void ReferenceQuantize::quantize_activation_backward(const Tensor& g, const Tensor& x, const Tensor& alpha,
                                                     const Quantized& out, QuantizerVariant variant, bool adds,
                                                     Tensor& gx, Tensor& galpha) const {
  dispatch_float(g.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto gs = g.data<Float>(), xs = x.data<Float>();
    const auto gxs = gx.data<Float>();
    const std::vector<Float> q = fractions<Float>(out);
    const Float a = alpha.data<Float>()[0];
    const bool clips_below = variant == QuantizerVariant::imagenet;
    double sum = 0;
    for (size_t i = 0; i < gs.size(); ++i) {
      const Float z = xs[i] / a;
      const bool above = z > 1, below = clips_below && z < 0;
      const Float kept = above || below ? Float(0) : gs[i];
      gxs[i] = adds ? gxs[i] + kept : kept;
      sum += static_cast<double>(gs[i]) * (above ? 1 : below ? 0 : static_cast<double>(q[i]) - z);
    }
    galpha.data<Float>()[0] = static_cast<Float>(sum);
  });
}

void ReferenceQuantize::clipped_gradient(const Tensor& g, const Tensor& x, const Tensor& alpha, bool has_sign,
                                         Tensor& galpha) const {
  dispatch_float(g.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto gs = g.data<Float>(), xs = x.data<Float>();
    const Float a = alpha.data<Float>()[0];
    double sum = 0;
    for (size_t i = 0; i < gs.size(); ++i) {
      const Float z = xs[i] / a;
      if (z > 1) sum += static_cast<double>(gs[i]);
      if (has_sign && z < -1) sum -= static_cast<double>(gs[i]);
    }
    galpha.data<Float>()[0] = static_cast<Float>(sum);
  });
}

void ReferenceQuantize::dequantize(const Quantized& q, Tensor& values) const {
  dispatch_float(values.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const Float step = q.step.data<Float>()[0];
    dispatch_any(q.codes.dtype(), [&](auto code_zero) {
      std::ranges::transform(q.codes.data<decltype(code_zero)>(), values.data<Float>().begin(),
                             [&](auto code) { return static_cast<Float>(code) * step; });
    });
  });
}

void ReferenceQuantize::round_to_8bit(const Tensor& w, FirstLastRule rule, Tensor& out, Tensor& largest) const {
  dispatch_float(w.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto ws = w.data<Float>();
    Float m = rule == FirstLastRule::apot_compat ? ws[0] : std::abs(ws[0]);
    for (const Float value : ws) m = std::max(m, rule == FirstLastRule::apot_compat ? value : std::abs(value));
    for (size_t i = 0; i < ws.size(); ++i)
      out.data<Float>()[i] = rule == FirstLastRule::none ? ws[i] : std::nearbyint(ws[i] / m * 127) / 127 * m;
    largest.data<Float>()[0] = m;
  });
}

}  // namespace apotnet
