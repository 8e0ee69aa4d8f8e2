#include "tools/training/layer_statistics.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "core/base/error.h"
#include "core/kernels/call.h"
#include "tools/training/device_steps.h"

namespace apotnet {
namespace {

// `x` as the quantizer got it, and the codes that it made.
QuantizerStatistics statistics_of(const Tensor& x, const Tensor& alpha, const Quantized& q) {
  const auto levels = q.levels->codes();
  QuantizerStatistics result{.alpha = alpha.item(), .occupancy = std::vector<int64_t>(levels.size())};
  std::vector<size_t> level_of(static_cast<size_t>(q.levels->k()) + 1);
  for (size_t i = 0; i < levels.size(); ++i) level_of[static_cast<size_t>(levels[i])] = i;
  const bool has_sign = q.codes.dtype() != DType::u8;
  const double step = q.step.item();
  double signal = 0, noise = 0;
  int64_t clipped = 0;
  dispatch_any(q.codes.dtype(), [&](auto zero) {
    const auto codes = q.codes.data<decltype(zero)>();
    const auto values = x.data<float>();
    for (size_t i = 0; i < codes.size(); ++i) {
      const auto code = static_cast<double>(codes[i]);
      const double value = has_sign ? values[i] : std::max(values[i], 0.0f);
      ++result.occupancy[level_of[static_cast<size_t>(std::abs(code))]];
      clipped += std::abs(value) > result.alpha;
      signal += value * value;
      noise += (value - code * step) * (value - code * step);
    }
  });
  result.clipped = static_cast<double>(clipped) / static_cast<double>(x.elements());
  result.sqnr_db = noise > 0 ? 10 * std::log10(signal / noise) : std::numeric_limits<double>::infinity();
  return result;
}

// The floats that a fused call made codes of, and kept nowhere.
Tensor normalised(const Tensor& x, const BatchNormTerms& norm) {
  Tensor y = x.like(x.shape());
  call("norm_relu", &FusedKernels::norm_relu, x, norm, y);
  return y;
}

// Statistics by the memory of the threshold that a call used.
std::map<const std::byte*, QuantizerStatistics> statistics_of(const std::vector<TracedCall>& calls) {
  std::map<const std::byte*, QuantizerStatistics> found;
  const auto add = [&](const Tensor& x, const Tensor& alpha, const Quantized& q) {
    const Quantized host{q.codes.on(Device{}), q.step.on(Device{}), q.levels};
    found.emplace(alpha.raw(), statistics_of(x.on(Device{}), alpha.on(Device{}), host));
  };
  for (const TracedCall& traced : calls) {
    if (traced.name == "quantize_weight" || traced.name == "quantize_activation")
      add(traced.get<Tensor>(0), traced.get<Tensor>(1), traced.get<Quantized>(2));
    else if (traced.name == "norm_relu_quantize")
      add(normalised(traced.get<Tensor>(0), traced.get<BatchNormTerms>(1)), traced.get<Tensor>(2),
          traced.get<Quantized>(3));
  }
  return found;
}

template <typename F>
void for_each_quantized(Model& model, F&& f) {
  model.for_each_module([&](Module& module) {
    if (const auto* conv = dynamic_cast<const QuantConv2d*>(&module); conv && conv->weight_quantizer) f(*conv);
  });
}

template <typename F>
std::vector<TracedCall> trace_of(F&& computation) {
  const NoGrad no_grad;
  KernelTrace trace;
  computation();
  return trace.take();
}

}  // namespace

QuantizerStatistics weight_statistics(const QuantConv2d& layer) {
  const auto calls = trace_of([&] { layer.weight_quantizer->forward(layer.weight, layer.name()); });
  return statistics_of(calls).at(layer.weight_quantizer->alpha.value().raw());
}

std::vector<LayerStatistics> layer_statistics(Model& model, const Tensor& images) {
  std::vector<LayerStatistics> layers;
  const bool was_training = model.training();
  model.set_training(false);
  const auto found = statistics_of(trace_of([&] { model.forward(Variable(images.on(device_of(model)))); }));
  model.set_training(was_training);
  for_each_quantized(model, [&](const QuantConv2d& conv) {
    const auto weight = found.find(conv.weight_quantizer->alpha.value().raw());
    const auto activation = found.find(conv.activation_quantizer->alpha.value().raw());
    require(weight != found.end() && activation != found.end(), conv.name(), ": its quantizers were not called");
    layers.push_back({.name = conv.name(), .weight = weight->second, .activation = activation->second});
  });
  return layers;
}

AlphaGradients::AlphaGradients(Model& model, Sgd& optimizer) {
  std::vector<Variable> alphas;
  for_each_quantized(model, [&](const QuantConv2d& conv) {
    place_[conv.name()] = alphas.size();
    alphas.push_back(conv.weight_quantizer->alpha);
    alphas.push_back(conv.activation_quantizer->alpha);
  });
  if (alphas.empty()) return;
  const Tensor& first = alphas[0].value();
  squares_ = Tensor::zeros({static_cast<int64_t>(alphas.size())}, first.dtype(), first.device());
  for (size_t i = 0; i < alphas.size(); ++i)
    optimizer.add_squares_to(alphas[i], squares_.part(static_cast<int64_t>(i), 1).reshaped(alphas[i].value().shape()));
}

void AlphaGradients::clear() {
  if (squares_.defined()) squares_.fill(0);
  steps_ = 0;
}

void AlphaGradients::put_into(std::vector<LayerStatistics>& layers) const {
  if (steps_ == 0 || !squares_.defined()) return;
  const Tensor squares = squares_.on(Device{});
  const auto root_mean = [&](size_t i) {
    return std::sqrt(static_cast<double>(squares.data<float>()[i]) / static_cast<double>(steps_));
  };
  for (LayerStatistics& layer : layers)
    if (const auto place = place_.find(layer.name); place != place_.end()) {
      layer.weight_alpha_gradient = root_mean(place->second);
      layer.activation_alpha_gradient = root_mean(place->second + 1);
    }
}

}  // namespace apotnet
