#include "tests/support/lively_model.h"

#include <random>

#include "layers/batch_norm.h"

namespace apotnet::test {

void make_lively(Model& model, uint64_t seed) {
  Philox weights(seed, RandomStream::weights);
  model.initialize(weights);
  std::mt19937 random(static_cast<uint32_t>(seed));
  std::uniform_real_distribution<float> uniform(0.5f, 1.5f);
  model.for_each_module([&](Module& module) {
    auto* norm = dynamic_cast<BatchNorm*>(&module);
    if (!norm) return;
    for (float& value : norm->bias.mutable_value().data<float>()) value = uniform(random) - 0.8f;
    for (float& value : norm->weight.mutable_value().data<float>())
      value = (random() % 4 == 0 ? -1.0f : 1.0f) * uniform(random);
  });
  for (const auto& buffer : model.buffers())
    if (buffer.name.ends_with("running_mean") || buffer.name.ends_with("running_var"))
      for (float& value : buffer.tensor->data<float>())
        value = buffer.name.ends_with("mean") ? 0.3f * (uniform(random) - 1) : uniform(random);
  for (const auto& parameter : model.parameters())
    if (parameter.name.ends_with("act_alpha")) parameter.variable->mutable_value().fill(1.0 + uniform(random));
}

std::unique_ptr<Model> lively_model(const std::string& name, const QuantSettings& quant, uint64_t seed) {
  auto model = make_model({.name = name, .classes = 10, .quant = quant});
  make_lively(*model, seed);
  return model;
}

std::unique_ptr<Model> lively_model(const std::string& name, LevelMethod method, int bits, uint64_t seed) {
  QuantSettings quant;
  quant.method = method;
  quant.weight_bits = quant.activation_bits = bits;
  return lively_model(name, quant, seed);
}

Tensor normal_images(int64_t count, int64_t side, uint64_t seed) {
  Tensor images({count, side, side, 3}, DType::f32);
  Philox random(seed, RandomStream::bench);
  for (float& value : images.data<float>()) value = static_cast<float>(random.normal());
  return images;
}

Tensor evaluated(Model& model, const Tensor& images) {
  const NoGrad no_grad;
  model.set_training(false);
  return model.forward(Variable(images)).value();
}

}  // namespace apotnet::test
