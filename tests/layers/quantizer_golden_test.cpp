// Quantizers, first and last layer against values and gradients that the authors' code produced (tests/golden).
#include "core/base/error.h"
#include "core/kernels/call.h"
#include "layers/activation_quantizer.h"
#include "layers/first_last.h"
#include "layers/weight_quantizer.h"
#include "tests/support/golden.h"
#include "tests/support/gradients.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

// Rounding of float32 in another order of operations: relative to the largest element, or for the gradient of alpha to
// the sum of its absolute terms, which cancel.
constexpr double kTolerance = 1e-6;
// A value this near to the middle of two levels (as a fraction of alpha) may fall to either side.
constexpr double kTie = 5e-7;
constexpr int kMostTies = 3;  // of a file's 1,152 weights and 2,592 activations

std::vector<std::filesystem::path> quantizer_files() {
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(golden_folder()))
    if (entry.path().filename().string().starts_with("quant_")) files.push_back(entry.path());
  std::ranges::sort(files);
  return files;
}

QuantSettings settings_of(const Golden& golden) {
  QuantSettings settings;
  settings.variant = golden.metadata("flavour") == "cifar" ? QuantizerVariant::cifar : QuantizerVariant::imagenet;
  const std::string kind = golden.metadata("kind"), scale = golden.metadata("grad_scale");
  settings.method = kind.empty() ? LevelMethod::apot : parse_level_method(kind);
  settings.weight_bits = settings.activation_bits = std::stoi(golden.metadata("bits"));
  settings.threshold_gradient.scale = scale.empty() || scale == "None" ? 1 : std::stod(scale);
  return settings;
}

// A scalar whose gradient with respect to `output` is `gradient`.
Variable with_gradient(const Variable& output, const Tensor& gradient) {
  return Variable::record(Tensor::scalar(0, DType::f32), {output},
                          [gradient](const Tensor&, Gradients& gradients) { gradients.add(0, gradient); });
}

bool near_midpoint(double z, const LevelSet& levels) {
  const auto codes = levels.codes();
  for (size_t i = 1; i < codes.size(); ++i) {
    const double middle = static_cast<double>(codes[i - 1] + codes[i]) / static_cast<double>(2 * levels.k());
    if (std::abs(std::abs(z) - middle) <= kTie) return true;
  }
  return false;
}

struct Compared {
  int ties = 0;
  double tie_effect = 0;  // what the ties that fell to the other side may change in alpha's gradient
};

// Values must agree to float32 rounding, except on ties.
Compared compare_values(const Quantized& q, const Tensor& input, double alpha, const Tensor& expected,
                        const Tensor& g) {
  const std::vector<double> ours = doubles(values_of(Variable(q)).value()), theirs = doubles(expected),
                            x = doubles(input), gradient = doubles(g);
  Compared result;
  for (size_t i = 0; i < ours.size(); ++i) {
    if (std::abs(ours[i] - theirs[i]) <= 0x1p-22 * std::abs(theirs[i])) continue;
    INFO("element ", i, ": ", ours[i], ", the reference has ", theirs[i], ", z = ", x[i] / alpha);
    REQUIRE(near_midpoint(x[i] / alpha, *q.levels));
    ++result.ties;
    result.tie_effect += std::abs(gradient[i] * (ours[i] - theirs[i]) / alpha);
  }
  CHECK(result.ties <= kMostTies);
  return result;
}

// Sum of |g * (the slope of the value by alpha)|: the scale of alpha's gradient before its terms cancel.
double absolute_terms(const Quantized& q, const Tensor& input, double alpha, const Tensor& g) {
  const std::vector<double> codes = doubles(q.codes), x = doubles(input), gradient = doubles(g);
  double sum = 0;
  for (size_t i = 0; i < codes.size(); ++i) {
    const double z = x[i] / alpha;
    sum += std::abs(gradient[i]) * (std::abs(z) > 1 ? 1 : std::abs(codes[i] / static_cast<double>(q.levels->k()) - z));
  }
  return sum;
}

void check_alpha_gradient(const Variable& alpha, double expected, double scale, double tie_effect, double factor) {
  INFO("alpha's gradient ", alpha.grad().item(), ", the reference has ", expected);
  CHECK(std::abs(alpha.grad().item() - expected) <= factor * (kTolerance * scale + tie_effect));
}

int check_weights(const Golden& golden, const QuantSettings& settings) {
  WeightQuantizer quantizer(settings);
  const double alpha = golden.scalar("weight_alpha");
  quantizer.alpha.mutable_value().fill(alpha);
  const Variable w(golden["weight"], true);
  const Tensor g = golden["weight_grad_out"];
  check_data(w.value());
  check_data(g);
  const Variable output = quantizer.forward(w, "conv");
  const Quantized q = output.quantized();
  if (q.exact()) check_all_levels(q, true);  // the lowest levels of a wide set are too small to be met
  with_gradient(output, g).backward();

  Tensor w_hat(w.shape(), DType::f32), mean({}, DType::f32), std({}, DType::f32);
  call("weight_norm", &NormKernels::weight_norm, w.value(), w_hat, mean, std);
  const Compared compared = compare_values(q, w_hat, alpha, golden["weight_q"], g);
  CHECK(relative_difference(w.grad(), golden["weight_grad"]) <= kTolerance);
  check_alpha_gradient(quantizer.alpha, golden.scalar("weight_alpha_grad"), absolute_terms(q, w_hat, alpha, g),
                       compared.tie_effect, settings.threshold_gradient.scale);
  return compared.ties;
}

int check_activations(const Golden& golden, const QuantSettings& settings) {
  ActivationQuantizer quantizer(settings);
  const double alpha = golden.scalar("act_alpha");
  quantizer.alpha.mutable_value().fill(alpha);
  const Variable x(golden["act"], true);
  const Tensor g = golden["act_grad_out"];
  check_data(x.value(), 0.4);  // behind a ReLU
  check_data(g);
  const Variable output = quantizer.forward(x, "conv");
  const Quantized q = output.quantized();
  if (q.exact()) check_all_levels(q, false);
  with_gradient(output, g).backward();

  const Compared compared = compare_values(q, x.value(), alpha, golden["act_q"], g);
  CHECK(relative_difference(x.grad(), golden["act_grad"]) <= kTolerance);
  check_alpha_gradient(quantizer.alpha, golden.scalar("act_alpha_grad"), absolute_terms(q, x.value(), alpha, g),
                       compared.tie_effect, settings.threshold_gradient.scale);
  return compared.ties;
}

void check_files(const std::string& start, size_t expected_files) {
  size_t files = 0;
  int ties = 0;
  for (const auto& path : quantizer_files()) {
    if (!path.filename().string().starts_with(start)) continue;
    INFO(path.filename().string());
    const Golden golden(path);
    const QuantSettings settings = settings_of(golden);
    for (const Backend backend : {Backend::cpu, Backend::reference}) {
      const BackendScope scope(backend);
      ties += check_weights(golden, settings) + check_activations(golden, settings);
    }
    ++files;
  }
  CHECK(files == expected_files);
  MESSAGE(start, ": ", ties, " ties skipped");
}

void check_close(const Tensor& ours, const Tensor& theirs) {
  check_data(theirs);
  CHECK(relative_difference(ours, theirs) <= kTolerance);
}

}  // namespace

TEST_CASE("golden: quantizers, cifar") { check_files("quant_cifar_", 4); }
TEST_CASE("golden: quantizers, imagenet apot") { check_files("quant_imagenet_apot_", 8); }
TEST_CASE("golden: quantizers, imagenet pot") { check_files("quant_imagenet_pot_", 8); }
TEST_CASE("golden: quantizers, imagenet uniform") { check_files("quant_imagenet_uniform_", 8); }

TEST_CASE("golden: first convolution and last linear layer in 8 bits, outputs and gradients") {
  const Golden golden(golden_folder() / "first_last_8bit.safetensors");
  for (const Backend backend : {Backend::cpu, Backend::reference}) {
    const BackendScope scope(backend);
    FirstConv2d conv(3, 16, 3, 1, 1, FirstLastRule::apot_compat);
    const Tensor conv_weight = golden["conv_weight"], fc_weight = golden["fc_weight"], fc_bias = golden["fc_bias"];
    conv.weight.mutable_value().copy_from({conv_weight.raw(), conv_weight.bytes()});
    const Variable image(golden["conv_in"], true);
    const Variable y = conv.forward(image);
    check_close(y.value(), golden["conv_out"]);
    with_gradient(y, golden["conv_grad_out"]).backward();
    check_close(image.grad(), golden["conv_grad_in"]);
    check_close(conv.weight.grad(), golden["conv_weight_grad"]);

    LastLinear fc(64, 10, FirstLastRule::apot_compat);
    fc.weight.mutable_value().copy_from({fc_weight.raw(), fc_weight.bytes()});
    fc.bias.mutable_value().copy_from({fc_bias.raw(), fc_bias.bytes()});
    const Variable features(golden["fc_in"], true);
    const Variable logits = fc.forward(features);
    check_close(logits.value(), golden["fc_out"]);
    with_gradient(logits, golden["fc_grad_out"]).backward();
    check_close(features.grad(), golden["fc_grad_in"]);
    check_close(fc.weight.grad(), golden["fc_weight_grad"]);
    check_close(fc.bias.grad(), golden["fc_bias_grad"]);
  }
}
