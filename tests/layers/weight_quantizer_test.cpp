#include "layers/weight_quantizer.h"

#include "core/ops/quantize.h"
#include "layers/batch_norm.h"
#include "layers/quant_conv2d.h"
#include "models/registry.h"
#include "tests/support/check_data.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

double deviation_of(const Tensor& tensor) {
  const std::vector<double> values = doubles(tensor);
  double sum = 0, squares = 0;
  for (const double value : values) sum += value;
  const double count = static_cast<double>(values.size()), mean = sum / count;
  for (const double value : values) squares += (value - mean) * (value - mean);
  return std::sqrt(squares / (count - 1));
}

}  // namespace

TEST_CASE("weight quantizer without normalisation rounds the raw weight, from 3 of its deviations on") {
  Philox random = random_numbers(41);
  const Variable w(random_tensor({6, 3, 3, 16}, DType::f32, random, 0.07, 0.02));
  for (const auto method : {LevelMethod::apot, LevelMethod::pot, LevelMethod::uniform})
    for (const int bits : {2, 3, 4}) {
      CAPTURE(bits);
      QuantSettings settings;
      settings.method = method;
      settings.weight_bits = bits;
      WeightQuantizer normalising(settings);
      settings.weight_norm = false;
      WeightQuantizer raw(settings);
      normalising.start_alpha(w.value());
      raw.start_alpha(w.value());
      CHECK(normalising.alpha.value().item() == 3);
      CHECK(raw.alpha.value().item() == doctest::Approx(3 * deviation_of(w.value())).epsilon(1e-6));
      const Quantized q = raw.forward(w, "conv").quantized();
      const Quantized wanted = quantize_weight(w, raw.alpha, raw.levels(), QuantizerVariant::cifar, "conv").quantized();
      CHECK(same_bits(q.codes, wanted.codes));
      CHECK(same_bits(q.step, wanted.step));
      CHECK_FALSE(same_bits(q.codes, normalising.forward(w, "conv").quantized().codes));
    }
}

TEST_CASE("a network's raw weights start with thresholds of their own, and every batch norm learns of ghost batches") {
  ModelSettings settings;
  settings.quant.weight_norm = false;
  const auto model = make_model(settings);
  Philox random = random_numbers(42);
  model->initialize(random);
  set_ghost_batch(*model, 64);
  size_t convolutions = 0, norms = 0;
  model->for_each_module([&](Module& module) {
    if (const auto* layer = dynamic_cast<const QuantConv2d*>(&module)) {
      CHECK(layer->weight_quantizer->alpha.value().item() ==
            doctest::Approx(3 * deviation_of(layer->weight.value())).epsilon(1e-6));
      ++convolutions;
    }
    if (const auto* norm = dynamic_cast<const BatchNorm*>(&module)) {
      CHECK(norm->ghost_batch == 64);
      ++norms;
    }
  });
  CHECK(convolutions == 20);
  CHECK(norms == 21);
}
