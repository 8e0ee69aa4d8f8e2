// Whole training steps on the CUDA path: against the CPU, against the authors' numbers, one by one and recorded.
#include "core/kernels/call.h"
#include "layers/batch_norm.h"
#include "layers/state.h"
#include "tests/emulation/runtime.h"
#include "tests/emulation/training.h"
#include "tests/support/authors_resnet20.h"

using namespace apotnet;
using namespace apotnet::test;

TEST_CASE("cuda: every kernel of a training step of ResNet-20 agrees with the reference on the same input") {
  const PlainArithmetic plain;
  const Batch batch(4);
  for (const auto& [method, variant, bits] : {std::tuple{LevelMethod::apot, QuantizerVariant::cifar, 4},
                                              {LevelMethod::apot, QuantizerVariant::imagenet, 2},
                                              {LevelMethod::pot, QuantizerVariant::imagenet, 5},
                                              {LevelMethod::uniform, QuantizerVariant::cifar, 3},
                                              {LevelMethod::apot, QuantizerVariant::cifar, 32}}) {
    CAPTURE(bits);
    ModelSettings settings = settings_of(method, variant, bits);
    settings.quant.threshold_gradient.reparameterized = bits != 2;
    Training training(settings, batch.images, batch.labels, kCuda);
    if (bits == 5) set_ghost_batch(*training.model, 2);
    const BackendScope scope(Backend::checked);
    training.optimizer->set_rate_factor(1);
    CHECK_NOTHROW(training.step());
    CHECK(std::isfinite(training.loss.on({}).item()));
    CHECK_FALSE(cuda_device().take_trouble());
  }
}

TEST_CASE("cuda: a recorded step repeats the bits of steps one by one, and allocates nothing") {
  const PlainArithmetic plain;
  const Batch batch(3), other(3, 143);
  const ModelSettings settings = settings_of(LevelMethod::apot, QuantizerVariant::cifar, 4);
  Training eager(settings, batch.images, batch.labels, kCuda), recorded(settings, batch.images, batch.labels, kCuda);
  const auto work = cuda_device().repeat();
  size_t allocations = 0;
  for (int step = 0; step < 5; ++step) {
    CAPTURE(step);
    const Batch& now = step % 2 ? other : batch;
    for (Training* training : {&eager, &recorded}) {
      training->images.copy_from({now.images.raw(), now.images.bytes()});
      training->labels.copy_from({now.labels.raw(), now.labels.bytes()});
      training->optimizer->set_rate_factor(step < 2 ? 1 : 0.1);
    }
    eager.step();
    if (step == 2) allocations = emulation::allocation_count();
    work->run([&] { recorded.step(); });
    const auto a = eager.state(), b = recorded.state();
    for (size_t i = 0; i + recorded.model->buffers().size() < a.size(); ++i) {
      CAPTURE(i);
      CHECK(same_bits(a[i], b[i]));
    }
  }
  CHECK(emulation::allocation_count() == allocations);
  CHECK(work->nodes() > 100);
}

TEST_CASE("cuda: golden: one training step of the authors' ResNet-20 on 32 images") {
  const AuthorsResnet20 authors;
  SKIP_WITHOUT(authors);
  const PlainArithmetic plain;
  const Golden golden(authors.expected);
  const CifarRecords batch = authors.first(32);
  Training training(settings_of(LevelMethod::apot, QuantizerVariant::cifar, 3), batch.images, batch.labels, kCuda);
  load_state(*training.model, read_checkpoint_file(authors.checkpoint.string()));
  const Variable logits = training.model->forward(Variable(training.images));
  Variable loss = cross_entropy(logits, training.labels);
  loss.backward();
  CHECK(std::abs(loss.value().on({}).item() - golden.scalar("train_loss")) < 1e-5);
  CHECK(relative_error(logits.value(), golden["train_logits"]) < 1e-3);
  double worst = 0;
  for (const auto& parameter : training.model->parameters()) {
    CAPTURE(parameter.name);
    const double own = relative_error(parameter.variable->grad(), golden["grad." + parameter.name]);
    CHECK(own < 1e-3);
    worst = std::max(worst, own);
  }
  for (const auto& buffer : training.model->buffers()) {
    CAPTURE(buffer.name);
    CHECK(relative_error(*buffer.tensor, golden["buffer_after." + buffer.name]) < 1e-5);
  }
  MESSAGE("worst gradient error ", worst);
}

TEST_CASE("cuda: batches made on the device have the bits of the loader's") {
  Philox random = random_numbers(144);
  Tensor images({5, 9, 9, 3}, DType::u8), labels = Tensor::from<int32_t>({5}, {3, 1, 4, 1, 5});
  for (uint8_t& byte : images.data<uint8_t>()) byte = static_cast<uint8_t>(random.below(256));
  const ResidentImages data{images, labels, random_tensor({3, 256}, DType::f32, random), 2};
  const Tensor placements = Tensor::from<int32_t>({3, 4}, {4, 0, 3, 1, 0, 4, 4, 0, 2, 2, 2, 1});
  std::vector<Tensor> out;
  for (const Kernels* kernels : {&reference_kernels(), &device_kernels_on_copies()}) {
    Tensor batch({3, 9, 9, 3}, DType::f32), chosen({3}, DType::s32);
    kernels->batch->gather_batch(data, placements, batch, chosen);
    CHECK(doubles(chosen) == std::vector<double>{5, 3, 4});
    out.push_back(batch);
  }
  CHECK(same_bits(out[0], out[1]));
}
