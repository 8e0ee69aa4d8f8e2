#include "models/cost.h"

#include <doctest/doctest.h>

#include "core/base/error.h"
#include "models/registry.h"
#include "tests/support/backends.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

constexpr double kMiB = 1 << 20;

NetworkCost cost(const std::string& model, LevelMethod method, int bits,
                 FirstLastRule ends = FirstLastRule::apot_compat) {
  ModelSettings settings{.name = model, .classes = model_input(model)[1] == 32 ? 10 : 1000, .quant = {}};
  settings.quant.method = method;
  settings.quant.weight_bits = settings.quant.activation_bits = bits;
  settings.quant.first_last = ends;
  const auto network = make_model(settings);
  Philox random = random_numbers(141);
  network->initialize(random);
  return cost_of(*network, settings);
}

struct Published {
  LevelMethod method;
  int bits;
  double millions_of_fixops, precision;
};

}  // namespace

TEST_CASE("cost: FixOPS of ResNet-18 are those of the paper's table 3") {
  for (const Published& published : {Published{LevelMethod::uniform, 5, 780.8, 0.05},
                                     {LevelMethod::uniform, 3, 357.0, 0.05},
                                     {LevelMethod::apot, 5, 615, 0.5},
                                     {LevelMethod::apot, 3, 297, 0.5},
                                     {LevelMethod::pot, 5, 582, 0.5}}) {
    CAPTURE(name_of(published.method));
    CAPTURE(published.bits);
    const double millions = cost("resnet18", published.method, published.bits).fixops() / 1e6;
    CAPTURE(millions);
    CHECK(std::abs(millions - published.millions_of_fixops) <= published.precision);
  }
}

TEST_CASE("cost: sizes of ResNet-18 are the published ones") {
  const std::vector<std::pair<int, double>> published{{5, 7.225}, {4, 5.895}, {3, 4.565}, {2, 3.234}};
  for (const auto& [bits, mebibytes] : published) {
    CAPTURE(bits);
    const double bytes = cost("resnet18", LevelMethod::apot, bits).bytes();
    CAPTURE(bytes / kMiB);
    CHECK(std::abs(bytes / kMiB - mebibytes) <= 0.0005);
  }
}

TEST_CASE("cost: a layer's multiplications, by hand for ResNet-20") {
  const NetworkCost found = cost("resnet20", LevelMethod::apot, 4);
  REQUIRE(found.layers.size() == 22);  // 1 + 18 + 2 shortcuts + 1
  CHECK(found.layers.front().name == "conv1");
  CHECK(found.layers.front().macs == 32 * 32 * 16 * 27);
  CHECK(found.layers.front().weight_bits == 8);
  CHECK(found.layers.back().name == "fc");
  CHECK(found.layers.back().macs == 640);
  for (const LayerCost& layer : found.layers) {
    if (layer.name == "layer2.0.conv1") CHECK(layer.macs == 16 * 16 * 32 * 9 * 16);
    if (layer.name == "layer2.0.downsample.0") CHECK(layer.macs == 16 * 16 * 32 * 16);
    if (layer.name == "layer3.2.conv2") CHECK(layer.fixops() == 0.75 * (8 * 8 * 64 * 9 * 64) * 16 / 64);
  }
}

TEST_CASE("cost: a float network has four bytes for each number and no fixed-point operations") {
  const NetworkCost found = cost("resnet20", LevelMethod::apot, 32, FirstLastRule::none);
  CHECK(found.fixops() == 0);
  // 272,474 parameters and the running statistics of 784 channels; the linear layer's bias is among the parameters.
  CHECK(found.bytes() == 4.0 * (272474 + 2 * 784));
  CHECK(found.float_bytes() == found.bytes());
  CHECK(cost("resnet20", LevelMethod::pot, 3).float_bytes() == found.bytes());
  CHECK(found.macs() == cost("resnet20", LevelMethod::uniform, 3).macs());
}
