#include "models/cost.h"

#include <map>

#include "core/base/error.h"
#include "core/kernels/trace.h"
#include "core/quant/quantized.h"
#include "layers/first_last.h"
#include "layers/quant_conv2d.h"
#include "models/registry.h"

namespace apotnet {
namespace {

// The ends are counted with 8-bit inputs too, as the paper does; here they are float.
constexpr int kEndBits = 8;

// A product with a sum of two powers of two is two shifts and an addition instead of a multiplication; with one power
// of two a single shift. The paper's shares of the cost of a multiplier.
double share_of_multiplier(LevelMethod method) {
  if (method == LevelMethod::apot) return 0.75;
  return method == LevelMethod::pot ? 0.70 : 1;
}

// Layers by the memory that stands for their weights in the trace: the weights, or a quantizer's threshold.
class LayersByMemory {
 public:
  LayersByMemory(Model& model, const QuantSettings& quant) : quant_(quant) {
    model.for_each_module([&](Module& module) {
      if (const auto* conv = dynamic_cast<const QuantConv2d*>(&module)) {
        const Variable& known_by = conv->weight_quantizer ? conv->weight_quantizer->alpha : conv->weight;
        add(known_by, conv->name(), conv->weight, quant.weight_bits, quant.activation_bits,
            share_of_multiplier(quant.method));
      } else if (const auto* first = dynamic_cast<const FirstConv2d*>(&module)) {
        add_end(first->name(), first->weight);
      } else if (const auto* last = dynamic_cast<const LastLinear*>(&module)) {
        add_end(last->name(), last->weight);
      }
    });
  }

  // Rounded weights stand for the layer of what they were made from.
  void follow(const Tensor& from, const Tensor& to) {
    if (const auto found = layers_.find(from.raw()); found != layers_.end()) layers_[to.raw()] = found->second;
  }
  LayerCost at(const Tensor& weights) const {
    const auto found = layers_.find(weights.raw());
    require(found != layers_.end(), "a convolution with weights ", weights.shape(), " belongs to no known layer");
    return found->second;
  }

 private:
  void add(const Variable& known_by, const std::string& name, const Variable& weight, int weight_bits,
           int activation_bits, double share) {
    const int64_t weights = weight.value().elements();
    const bool fixed_point = weight_bits < 32 && activation_bits < 32;
    layers_[known_by.value().raw()] = {.name = name,
                                       .weights = weights,
                                       .weight_bits = weight_bits,
                                       .activation_bits = activation_bits,
                                       .fixops_per_mac = fixed_point ? share * weight_bits * activation_bits / 64 : 0,
                                       .bytes = static_cast<double>(weights) * weight_bits / 8};
  }
  void add_end(const std::string& name, const Variable& weight) {
    const int bits = quant_.first_last == FirstLastRule::none ? 32 : kEndBits;
    add(weight, name, weight, bits, bits, 1);
  }

  const QuantSettings& quant_;
  std::map<const std::byte*, LayerCost> layers_;
};

double bytes_of_floats(Model& model) {
  int64_t floats = 0;
  model.for_each_module([&](Module& module) {
    if (const auto* norm = dynamic_cast<const BatchNorm*>(&module)) floats += 4 * norm->weight.value().elements();
    if (const auto* last = dynamic_cast<const LastLinear*>(&module)) floats += last->bias.value().elements();
  });
  return 4 * static_cast<double>(floats);
}

std::vector<TracedCall> trace_of_one_image(Model& model, const Shape& input) {
  const bool was_training = model.training();
  model.set_training(false);
  const NoGrad no_grad;
  KernelTrace trace;
  model.forward(Variable(Tensor::zeros(input, DType::f32)));
  model.set_training(was_training);
  return trace.take();
}

}  // namespace

int64_t NetworkCost::macs() const {
  int64_t sum = 0;
  for (const LayerCost& layer : layers) sum += layer.macs;
  return sum;
}

double NetworkCost::fixops() const {
  double sum = 0;
  for (const LayerCost& layer : layers) sum += layer.fixops();
  return sum;
}

double NetworkCost::bytes() const {
  double sum = other_bytes;
  for (const LayerCost& layer : layers) sum += layer.bytes;
  return sum;
}

double NetworkCost::float_bytes() const {
  double sum = other_bytes;
  for (const LayerCost& layer : layers) sum += 4 * static_cast<double>(layer.weights);
  return sum;
}

NetworkCost cost_of(Model& model, const ModelSettings& settings) {
  NetworkCost cost{.layers = {}, .other_bytes = bytes_of_floats(model)};
  LayersByMemory known(model, settings.quant);
  const auto add = [&](const Tensor& weights, const Tensor& y) {
    LayerCost layer = known.at(weights);
    layer.macs = y.elements() * (layer.weights / weights.size(0));
    cost.layers.push_back(layer);
  };
  const auto calls = trace_of_one_image(model, model_input(settings.name));
  for (const TracedCall& call : calls) {
    if (call.name == "round_to_8bit") known.follow(call.get<Tensor>(0), call.get<Tensor>(2));
    if (call.name == "quantize_weight") known.follow(call.get<Tensor>(1), call.get<Quantized>(2).codes);
    if (call.name == "conv2d" || call.name == "linear")
      add(call.get<Tensor>(1), call.get<Tensor>(3));
    else if (call.name == "conv2d_codes")
      add(call.get<Quantized>(1).codes, call.get<Tensor>(3));
  }
  return cost;
}

}  // namespace apotnet
