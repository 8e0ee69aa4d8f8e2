#pragma once

#include <memory>
#include <vector>

#include "core/kernels/accelerator.h"
#include "core/kernels/cuda/context.h"
#include "core/ops/cross_entropy.h"
#include "models/registry.h"
#include "optim/sgd.h"
#include "tests/support/backends.h"
#include "tests/support/test_data.h"

namespace apotnet::test {

using cuda::kCuda;

// A network with its optimizer and a batch, all on the device.
struct Training {
  std::unique_ptr<Model> model;
  std::unique_ptr<Sgd> optimizer;
  Tensor images, labels, loss, logits;

  Training(const ModelSettings& settings, const Tensor& host_images, const Tensor& host_labels, Device device,
           double weight_decay = 1e-4)
      : Training(make_model(settings), host_images, host_labels, device, weight_decay) {}
  Training(std::unique_ptr<Model> network, const Tensor& host_images, const Tensor& host_labels, Device device,
           double weight_decay = 1e-4)
      : model(std::move(network)) {
    if (device == kCuda) cuda_device();
    Philox random = random_numbers(141);
    model->initialize(random);
    model->move_to(device);
    std::vector<NamedVariable> parameters;
    for (const auto& parameter : model->parameters()) parameters.push_back({parameter.name, *parameter.variable});
    optimizer = std::make_unique<Sgd>(std::vector<ParameterGroup>{{"all", parameters, 0.02, weight_decay}}, 0.9);
    images = host_images.on(device);
    labels = host_labels.on(device);
  }
  void forward_backward() {
    const Variable output = model->forward(Variable(images));
    Variable value = cross_entropy(output, labels, 0.1);
    value.backward();
    logits = output.value();
    loss = value.value();
  }
  void step() {
    forward_backward();
    optimizer->update();
    optimizer->clear_gradients();
  }
  std::vector<Tensor> state() const {
    std::vector<Tensor> result{loss.on({}), logits.on({})};
    for (const auto& parameter : model->parameters()) result.push_back(parameter.variable->value().on({}));
    for (const auto& buffer : model->buffers()) result.push_back(buffer.tensor->on({}).to(DType::f32));
    return result;
  }
};

inline ModelSettings settings_of(LevelMethod method, QuantizerVariant variant, int bits) {
  ModelSettings settings;
  settings.quant.method = method;
  settings.quant.variant = variant;
  settings.quant.weight_bits = settings.quant.activation_bits = bits;
  return settings;
}

struct Batch {
  Tensor images, labels;
  explicit Batch(int64_t count, uint64_t seed = 142, int64_t channels = 3) {
    Philox random = random_numbers(seed);
    images = random_tensor({count, 32, 32, channels}, DType::f32, random);
    labels = Tensor({count}, DType::s32);
    for (int32_t& label : labels.data<int32_t>()) label = static_cast<int32_t>(random.below(10));
  }
};

// Float32 as the CPU has it, kernel by kernel unless asked; a read before the first write shows.
class PlainArithmetic {
 public:
  explicit PlainArithmetic(bool fuses_steps = false) {
    cuda_device();
    cuda::Context::get().set_gradient_arithmetic(cuda::Arithmetic::f32);
    cuda::Context::get().set_fuses_steps(fuses_steps);
    cuda::Context::get().set_fill_fresh_memory(true);
  }
  ~PlainArithmetic() {
    cuda::Context::get().set_gradient_arithmetic(cuda::Arithmetic::tf32);
    cuda::Context::get().set_fuses_steps(true);
    cuda::Context::get().set_fill_fresh_memory(false);
  }
};

}  // namespace apotnet::test
