// The whole engine on one page: a quantized network of two convolutions learns to tell horizontal from vertical
// stripes. A good first file to read; models/residual_block.cpp is the same thing, only larger.
#include <doctest/doctest.h>

#include "core/base/philox.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/elementwise.h"
#include "core/ops/pool.h"
#include "layers/batch_norm.h"
#include "layers/first_last.h"
#include "layers/quant_conv2d.h"
#include "optim/sgd.h"

using namespace apotnet;

namespace {

constexpr int64_t kBatch = 32, kSide = 8;

// A module owns its parameters and names them as a checkpoint does. QuantConv2d turns its weights and its input into
// integer codes, convolves those, and scales the exact sums by the product of the two steps.
class TinyNet : public Module {
 public:
  explicit TinyNet(const QuantSettings& quant)
      : conv1_(3, 8, 3, 1, 1, quant.first_last),
        bn1_(8),
        conv2_(8, 16, 3, {2, 1, 1}, quant),
        bn2_(16),
        fc_(16, 2, quant.first_last) {
    add_module("conv1", conv1_);
    add_module("bn1", bn1_);
    add_module("conv2", conv2_);
    add_module("bn2", bn2_);
    add_module("fc", fc_);
    name_modules();
  }

  Variable forward(const Variable& images) {
    const Variable x = relu(bn1_.forward(conv1_.forward(images)));
    const Variable y = relu(bn2_.forward(conv2_.forward(x)));
    return fc_.forward(global_average_pool(y));
  }

 private:
  FirstConv2d conv1_;
  BatchNorm bn1_;
  QuantConv2d conv2_;
  BatchNorm bn2_;
  LastLinear fc_;
};

struct Stripes {
  Tensor images{{kBatch, kSide, kSide, 3}, DType::f32};  // N, H, W, C
  Tensor labels{{kBatch}, DType::s32};
};

// Noisy stripes; everything random is a pure function of (seed, stream, epoch, sample).
Stripes draw_stripes(uint32_t step) {
  Stripes batch;
  for (size_t n = 0; n < kBatch; ++n) {
    Philox random(1, RandomStream::test, step, static_cast<uint32_t>(n));
    const int32_t label = batch.labels.data<int32_t>()[n] = static_cast<int32_t>(random.below(2));
    const uint32_t phase = random.below(4);
    for (size_t i = 0; i < kSide * kSide * 3; ++i) {
      const size_t row = i / (kSide * 3), column = i / 3 % kSide;
      const float stripe = (label == 0 ? row + phase : column + phase) % 4 < 2 ? 1.0f : -1.0f;
      batch.images.data<float>()[n * kSide * kSide * 3 + i] = stripe + 0.5f * static_cast<float>(random.normal());
    }
  }
  return batch;
}

}  // namespace

TEST_CASE("a tiny 3-bit network learns in 60 steps") {
  TinyNet net(QuantSettings{.weight_bits = 3, .activation_bits = 3});
  Philox random(1, RandomStream::weights);
  net.initialize(random);
  ParameterGroup group{.name = "all", .parameters = {}, .learning_rate = 0.05, .weight_decay = 1e-4};
  for (const auto& parameter : net.parameters()) group.parameters.push_back({parameter.name, *parameter.variable});
  Sgd sgd({group}, /*momentum=*/0.9);

  double first = 0, last = 0;
  for (uint32_t step = 0; step < 60; ++step) {
    const Stripes batch = draw_stripes(step);
    Variable loss = cross_entropy(net.forward(Variable(batch.images)), batch.labels);
    loss.backward();  // every op's derivative in reverse; gradients end up in the parameters
    sgd.step(1);
    sgd.clear_gradients();
    last = loss.value().item();
    if (step == 0) first = last;
  }
  CHECK(first > 0.4);
  CHECK(last < 0.1);
}
