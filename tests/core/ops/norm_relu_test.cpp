#include "core/ops/norm_relu.h"

#include "core/base/error.h"
#include "core/ops/batch_norm.h"
#include "core/ops/elementwise.h"
#include "core/ops/quantize.h"
#include "tests/support/gradients.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

const std::vector<Shape> kShapes{{2, 5, 7, 3}, {4, 3, 3, 5}, {17, 2}};
constexpr double kAlpha = 1.3;

// x, gamma, beta and a shortcut (which a test may leave out).
std::vector<Tensor> inputs_of(const Shape& shape, Philox& random) {
  const int64_t channels = shape[shape.rank() - 1];
  return {random_tensor(shape, DType::f64, random, 1.5, 0.4), random_tensor({channels}, DType::f64, random, 0.5, 1),
          random_tensor({channels}, DType::f64, random, 0.3, 0.2), random_tensor(shape, DType::f64, random)};
}

struct Running {
  Tensor mean, variance;
};
Running fresh_statistics(const Shape& channels, DType dtype) {
  return {Tensor::full(channels, dtype, 0.2), Tensor::full(channels, dtype, 1.7)};
}

// Evaluation, training, training by sub-batches of at most three images.
struct Mode {
  bool training;
  int64_t ghost_batch = 0;
};
const Mode kTraining{true};
const std::vector<Mode> kModes{Mode{false}, kTraining, {true, 3}};

UncomputedNorm uncomputed(const std::vector<Variable>& in, const Mode& mode) {
  Running running = fresh_statistics(in[1].shape(), in[0].value().dtype());
  return mode.training
             ? uncomputed_norm_train(in[0], in[1], in[2], 1e-5, 0.1, running.mean, running.variance, mode.ghost_batch)
             : uncomputed_norm_eval(in[0], in[1], in[2], 1e-5, running.mean, running.variance);
}

Variable computed(const std::vector<Variable>& in, const Mode& mode) {
  Running running = fresh_statistics(in[1].shape(), in[0].value().dtype());
  return mode.training
             ? batch_norm_train(in[0], in[1], in[2], 1e-5, 0.1, running.mean, running.variance, mode.ghost_batch)
             : batch_norm_eval(in[0], in[1], in[2], 1e-5, running.mean, running.variance);
}

}  // namespace

TEST_CASE("gradient: norm_relu and norm_add_relu, training and evaluation") {
  for (const Shape& shape : kShapes)
    for (const Mode& mode : kModes) {
      INFO(text(shape));
      Philox random = random_numbers(24);
      std::vector<Tensor> inputs = inputs_of(shape, random);
      expect_gradients([&](const auto& in) { return norm_add_relu(uncomputed(in, mode), in[3]); }, inputs);
      inputs.pop_back();
      expect_gradients([&](const auto& in) { return norm_relu(uncomputed(in, mode)); }, inputs);
    }
}

TEST_CASE("gradient: norm_relu_quantize, the residual of the rounding frozen") {
  for (const Shape& shape : kShapes)
    for (const Mode& mode : kModes)
      for (const ThresholdGradient& learning :
           {ThresholdGradient{}, ThresholdGradient{.scale = 0.01}, ThresholdGradient{.reparameterized = false}}) {
        INFO(text(shape));
        CAPTURE(mode.training);
        CAPTURE(mode.ghost_batch);
        Philox random = random_numbers(25);
        std::vector<Tensor> point = inputs_of(shape, random);
        point[3] = Tensor::scalar(kAlpha, DType::f64);
        const LevelSet& levels = LevelSet::for_activations(LevelMethod::apot, 4);
        const auto function = [&](const std::vector<Variable>& in) {
          return values_of(norm_relu_quantize(uncomputed(in, mode), in[3], levels, "conv", learning));
        };
        std::vector<Variable> at_point;
        for (const Tensor& tensor : point) at_point.emplace_back(tensor);
        const std::vector<double> values = doubles(function(at_point).value()),
                                  y0 = doubles(relu(computed(at_point, mode)).value());
        // alpha * (min(z, 1) + q - min(z, 1) at the point itself), z = relu(batch norm) / alpha; if only the clipped
        // values count, the residual is frozen in the values' units
        const auto surrogate = [&](const std::vector<Variable>& in) {
          const double alpha = kAlpha + learning.scale * (in[3].value().item() - kAlpha);
          const double unit = learning.reparameterized ? alpha : kAlpha;
          Tensor y = relu(computed(in, mode)).value().clone();
          for (size_t i = 0; i < y0.size(); ++i) {
            const double residual = values[i] / kAlpha - std::min(y0[i] / kAlpha, 1.0);
            y.data<double>()[i] = alpha * std::min(y.data<double>()[i] / alpha, 1.0) + unit * residual;
          }
          return Variable(y);
        };
        expect_gradients(function, surrogate, point);
      }
}

TEST_CASE("norm_relu: values and codes have the bits of the operations one by one") {
  const LevelSet& levels = LevelSet::for_activations(LevelMethod::apot, 4);
  Philox random = random_numbers(26);
  const Shape shape{3, 9, 11, 19};
  const std::vector<Variable> in{Variable(random_tensor(shape, DType::f32, random, 1.5, 0.4)),
                                 Variable(random_tensor({19}, DType::f32, random, 0.5, 1)),
                                 Variable(random_tensor({19}, DType::f32, random, 0.3, 0.2)),
                                 Variable(random_tensor(shape, DType::f32, random))};
  const Variable alpha(Tensor::scalar(kAlpha, DType::f32));
  for (const Backend backend : {Backend::reference, Backend::cpu, Backend::checked})
    for (const Mode& mode : kModes) {
      const BackendScope scope(backend);
      const Variable norm = computed(in, mode);
      CHECK(same_bits(norm_relu(uncomputed(in, mode)).value(), relu(norm).value()));
      CHECK(same_bits(norm_add_relu(uncomputed(in, mode), in[3]).value(), relu(add(norm, in[3])).value()));
      const Quantized fused = norm_relu_quantize(uncomputed(in, mode), alpha, levels, "conv").quantized(),
                      plain =
                          quantize_activation(relu(norm), alpha, levels, QuantizerVariant::cifar, "conv").quantized();
      CHECK(same_bits(fused.codes, plain.codes));
      CHECK(same_bits(fused.step, plain.step));
    }
}

TEST_CASE("norm_relu: a gradient that others share is not changed, shapes are checked") {
  Philox random = random_numbers(27);
  const std::vector<Tensor> point = inputs_of({4, 3}, random);
  const auto leaf = [&](size_t i) { return Variable(point[i], true); };
  const Variable x = leaf(0), gamma = leaf(1), beta = leaf(2), other = leaf(3);
  // The sum passes one gradient on to norm_relu, which works in place, and to `other`.
  const Variable sum = add(norm_relu(uncomputed({x, gamma, beta}, kTraining)), other);
  const Tensor weights = random_tensor({4, 3}, DType::f64, random), kept = weights.clone();
  Variable end = Variable::record(Tensor::scalar(0, DType::f64), {sum},
                                  [&](const Tensor&, Gradients& gradients) { gradients.add(0, weights); });
  end.backward();
  CHECK(same_bits(other.grad(), kept));
  CHECK(same_bits(weights, kept));
  CHECK_FALSE(same_bits(x.grad(), kept));
  CHECK_THROWS_AS(norm_add_relu(uncomputed({x, gamma, beta}, kTraining), gamma), Error);
  CHECK_THROWS_AS(uncomputed({x, x, beta}, Mode{false}), Error);
  CHECK_THROWS_WITH_AS(
      norm_relu_quantize(uncomputed({x, gamma, beta}, kTraining), Variable(Tensor::scalar(-1, DType::f64)),
                         LevelSet::for_activations(LevelMethod::apot, 4), "layer1.0.conv2"),
      doctest::Contains("layer1.0.conv2: "), Error);
}
