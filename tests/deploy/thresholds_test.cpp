#include <doctest/doctest.h>

#include <climits>

#include "core/kernels/call.h"
#include "deploy/thresholds.h"

using namespace apotnet;

namespace {

// Batch norm with these scales and shifts, ReLU, quantizer.
struct Layer {
  Tensor scale, shift, alpha;
  const LevelSet& levels;

  Tensor operator()(const Tensor& y) const {
    const int64_t channels = scale.elements();
    Tensor normed(y.shape(), DType::f32), rectified(y.shape(), DType::f32);
    const Tensor mean = Tensor::zeros({channels}, DType::f32), variance = Tensor::full({channels}, DType::f32, 1);
    call("batch_norm", &NormKernels::batch_norm, y, mean, variance, scale, shift, 0.0, normed);
    call("relu", &ElementwiseKernels::relu, normed, rectified);
    Quantized codes = Quantized::like(y, levels, /*has_sign=*/false);
    call("quantize_activation", &QuantizeKernels::quantize_activation, rectified, alpha, codes);
    return codes.codes;
  }
};

}  // namespace

TEST_CASE("thresholds give evaluation's code for every possible sum") {
  const float step = 0.0037f;
  // Rising, falling, flat, always at the top, never off the ground, and one whose range ends amid the levels.
  const std::vector<float> scales{1.7f, -0.9f, 0.0f, 0.02f, 0.5f, 3.1f}, shifts{0.3f, 0.8f, 0.41f, 9.0f, -40.0f, -1.5f};
  const std::vector<SumRange> ranges{{-900, 1100}, {-2000, 1500}, {-10, 10}, {-300, 300}, {-500, 500}, {-50, 160}};
  for (const LevelMethod method : {LevelMethod::apot, LevelMethod::uniform})
    for (const int bits : {2, 3, 4, 5}) {
      const LevelSet& levels = LevelSet::for_activations(method, bits);
      const Layer layer{Tensor::from<float>({6}, scales), Tensor::from<float>({6}, shifts),
                        Tensor::scalar(1.9, DType::f32), levels};
      std::vector<Line> lines;
      for (size_t c = 0; c < scales.size(); ++c) {
        const double factor = static_cast<double>(2 * levels.k()) / 1.9f;
        lines.push_back({step * static_cast<double>(scales[c]) * factor, shifts[c] * factor});
      }
      const Thresholds found = find_thresholds(ranges, step, levels, layer, lines, 16);
      CHECK_FALSE(found.factor.empty());
      for (int64_t sum = -2000; sum <= 1500; ++sum) {
        const Tensor codes = layer(Tensor::full({1, 1, 1, 6}, DType::f32, static_cast<float>(sum) * step));
        for (size_t c = 0; c < 6; ++c) {
          if (sum < ranges[c].lowest || sum > ranges[c].highest) continue;
          const size_t count = levels.codes().size() - 1;
          size_t reached = 0;
          for (size_t j = 0; j < count; ++j) reached += sum >= found.values[c * count + j];
          CHECK(found.levels[found.rising[c] ? reached : count - reached] == codes.data<uint8_t>()[c]);
        }
      }
      CHECK(found.values[4 * (levels.codes().size() - 1)] == INT_MAX);
    }
}

TEST_CASE("a line that does not have the codes is not used") {
  const LevelSet& levels = LevelSet::for_activations(LevelMethod::apot, 3);
  const Layer layer{Tensor::full({1}, DType::f32, 1), Tensor::zeros({1}, DType::f32), Tensor::scalar(1, DType::f32),
                    levels};
  const Thresholds found = find_thresholds({{-100, 100}}, 0.01f, levels, layer, {{0.21, 0.0}}, 16);
  CHECK(found.factor.empty());
  CHECK(found.values.size() == 7);
}
