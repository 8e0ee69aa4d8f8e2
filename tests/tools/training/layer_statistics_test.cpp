#include "tools/training/layer_statistics.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/kernels/call.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/weight_norm.h"
#include "data/loader.h"
#include "data/shapes10.h"
#include "models/registry.h"

using namespace apotnet;

namespace {

struct Fixture {
  std::unique_ptr<Model> model;
  Batch batch;

  explicit Fixture(int bits) {
    model = make_model({.quant = {.weight_bits = bits, .activation_bits = bits}});
    Philox random(3, RandomStream::weights);
    model->initialize(random);
    batch = *Loader(draw_shapes10(1, Split::test, 16), {.batch = 16, .workers = 0}).next();
    // Thresholds that cut: what is clipped would else be next to nothing.
    for (const auto& parameter : model->parameters())
      if (parameter.role != ParameterRole::ordinary)
        parameter.variable->mutable_value().fill(parameter.role == ParameterRole::weight_alpha ? 1.4 : 0.9);
  }
};

}  // namespace

TEST_CASE("layer statistics: weights, compared with the values that the quantizer returns") {
  for (const int bits : {2, 3, 4}) {
    CAPTURE(bits);
    Fixture fixture(bits);
    const auto layers = layer_statistics(*fixture.model, fixture.batch.images);
    REQUIRE(layers.size() == 20);  // 18 convolutions of 9 blocks and 2 shortcuts
    size_t number = 0;
    fixture.model->for_each_module([&](Module& module) {
      const auto* conv = dynamic_cast<const QuantConv2d*>(&module);
      if (!conv) return;
      const LayerStatistics& layer = layers[number++];
      CHECK(layer.name == conv->name());
      const NoGrad no_grad;
      const Tensor w_hat = weight_norm(conv->weight, true, "").value();
      const Quantized q = conv->weight_quantizer->forward(conv->weight, "").quantized();
      double signal = 0, noise = 0;
      int64_t beyond = 0;
      std::vector<int64_t> occupancy(q.levels->codes().size());
      for (size_t i = 0; i < w_hat.data<float>().size(); ++i) {
        const double w = w_hat.data<float>()[i], error = w - q.codes.data<int8_t>()[i] * q.step.item();
        signal += w * w;
        noise += error * error;
        beyond += std::abs(w) > static_cast<double>(1.4f);
        for (size_t k = 0; k < occupancy.size(); ++k)
          occupancy[k] += std::abs(q.codes.data<int8_t>()[i]) == q.levels->codes()[k];
      }
      CHECK(layer.weight.alpha == doctest::Approx(1.4));
      CHECK(layer.weight.clipped ==
            doctest::Approx(static_cast<double>(beyond) / static_cast<double>(w_hat.elements())));
      CHECK(layer.weight.clipped > 0.05);
      CHECK(layer.weight.sqnr_db == doctest::Approx(10 * std::log10(signal / noise)));
      CHECK(layer.weight.occupancy == occupancy);
      CHECK(weight_statistics(*conv).occupancy == occupancy);
    });
    CHECK(number == layers.size());
  }
}

TEST_CASE("layer statistics: inputs, in plain and in fused quantizers, with the model left as it was") {
  Fixture fixture(4);
  fixture.model->set_training(true);
  const auto layers = layer_statistics(*fixture.model, fixture.batch.images);
  CHECK(fixture.model->training());
  int64_t first_inputs = 0;
  for (const int64_t count : layers[0].activation.occupancy) first_inputs += count;
  CHECK(first_inputs == int64_t{16} * 32 * 32 * 16);
  for (const LayerStatistics& layer : layers) {
    CAPTURE(layer.name);
    CHECK(layer.activation.alpha == doctest::Approx(0.9));
    CHECK(layer.activation.occupancy.size() == 16);
    // What is clipped takes the largest level, and so does what lies within half a step below alpha.
    int64_t all = 0;
    for (const int64_t count : layer.activation.occupancy) all += count;
    const double highest = static_cast<double>(layer.activation.occupancy.back()) / static_cast<double>(all);
    CHECK(layer.activation.clipped > 0);
    CHECK(layer.activation.clipped <= highest);
    CHECK(layer.activation.sqnr_db > 0);
    CHECK(layer.activation.sqnr_db < 40);
    CHECK(!layer.weight_alpha_gradient);
  }
  // The fused quantizer of the second convolution sees what the separate one would.
  BackendScope reference(Backend::reference);
  const auto plain = layer_statistics(*fixture.model, fixture.batch.images);
  for (size_t i = 0; i < layers.size(); ++i)
    CHECK(plain[i].activation.sqnr_db == doctest::Approx(layers[i].activation.sqnr_db).epsilon(0.01));
}

TEST_CASE("layer statistics: threshold gradients over steps are a root mean square") {
  Fixture fixture(3);
  std::vector<NamedVariable> parameters;
  for (const auto& parameter : fixture.model->parameters()) parameters.push_back({parameter.name, *parameter.variable});
  Sgd optimizer({{"all", parameters, 0.0, 0.0}}, 0.9);
  AlphaGradients gradients(*fixture.model, optimizer);
  double squares = 0;
  for (const double smoothing : {0.0, 0.3}) {
    cross_entropy(fixture.model->forward(Variable(fixture.batch.images)), fixture.batch.labels, smoothing).backward();
    for (const auto& parameter : fixture.model->parameters())
      if (parameter.name == "layer2.0.downsample.0.act_alpha")
        squares += std::pow(parameter.variable->grad().item(), 2);
    optimizer.step(1);
    optimizer.clear_gradients();
    gradients.count_step();
  }
  auto layers = layer_statistics(*fixture.model, fixture.batch.images);
  gradients.put_into(layers);
  bool found = false;
  for (const LayerStatistics& layer : layers) {
    CHECK(layer.weight_alpha_gradient.value() > 0);
    if (layer.name != "layer2.0.downsample.0") continue;
    found = true;
    CHECK(layer.activation_alpha_gradient.value() == doctest::Approx(std::sqrt(squares / 2)));
  }
  CHECK(found);
  gradients.clear();
  auto fresh = layer_statistics(*fixture.model, fixture.batch.images);
  gradients.put_into(fresh);
  CHECK(!fresh[0].weight_alpha_gradient);
  optimizer.update();  // without gradients
  gradients.count_step();
  gradients.put_into(fresh);
  CHECK(fresh[0].weight_alpha_gradient == 0.0);

  const auto model = make_model({.quant = {.weight_bits = 32, .activation_bits = 32}});
  Philox random(3, RandomStream::weights);
  model->initialize(random);
  CHECK(layer_statistics(*model, fixture.batch.images).empty());
}
