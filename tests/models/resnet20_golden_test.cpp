// The authors' 3-bit ResNet-20 against what the authors' code computed with it (docs of the numbers, section 6).
#include "core/kernels/call.h"
#include "core/ops/cross_entropy.h"
#include "layers/state.h"
#include "models/registry.h"
#include "tests/support/authors_resnet20.h"
#include "tests/support/backends.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

std::unique_ptr<Model> authors_model(const std::filesystem::path& checkpoint) {
  ModelSettings settings;
  settings.quant.weight_bits = settings.quant.activation_bits = 3;
  auto model = make_model(settings);
  const LoadReport report = load_state(*model, read_checkpoint_file(checkpoint.string()));
  CHECK(report.missing.empty());
  CHECK(report.unused.empty());
  return model;
}

double median(std::vector<double> values) {
  std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
  return values[values.size() / 2];
}

size_t largest_of_row(const std::vector<double>& logits, size_t row) {
  const auto start = logits.begin() + static_cast<std::ptrdiff_t>(10 * row);
  return static_cast<size_t>(std::max_element(start, start + 10) - start);
}

struct Closeness {
  double norm_error;  // |a - b| / |b|
  double cosine;
};

Closeness compare(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double aa = 0, bb = 0, ab = 0, difference = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    aa += a[i] * a[i], bb += b[i] * b[i], ab += a[i] * b[i];
    difference += (a[i] - b[i]) * (a[i] - b[i]);
  }
  REQUIRE(bb > 0);
  return {std::sqrt(difference / bb), ab / std::sqrt(aa * bb)};
}

}  // namespace

TEST_CASE("golden: state of the model has the names, order and shapes of the authors' checkpoint") {
  const auto checkpoint = reference_file("resnet20_3bit.pth.tar");
  SKIP_WITHOUT(checkpoint);
  const TensorFile file = read_checkpoint_file(checkpoint.string());
  const std::vector<NamedTensor> state = state_of(*authors_model(checkpoint));
  REQUIRE(state.size() == file.tensors.size());
  for (size_t i = 0; i < state.size(); ++i) {
    CHECK(state[i].name == file.tensors[i].name);
    CHECK(same_bits(state[i].tensor, file.tensors[i].tensor.reshaped(state[i].tensor.shape())));
  }
}

TEST_CASE("golden: logits of 256 test images in evaluation mode") {
  const AuthorsResnet20 authors;
  SKIP_WITHOUT(authors);
  const Golden golden(authors.expected);
  const CifarRecords batch = authors.first(256);
  CHECK(doubles(batch.labels) == doubles(golden["labels"]));
  const auto model = authors_model(authors.checkpoint);
  model->set_training(false);
  const NoGrad no_grad;
  const Variable input(batch.images);
  const Tensor logits =
      same_for_all_thread_counts([&] { return std::vector<Tensor>{model->forward(input).value()}; }).front();

  const std::vector<double> ours = doubles(logits), theirs = doubles(golden["eval_logits"]);
  std::vector<double> differences;
  for (size_t i = 0; i < ours.size(); ++i) differences.push_back(std::abs(ours[i] - theirs[i]));
  size_t agree = 0;
  for (size_t row = 0; row < 256; ++row) agree += largest_of_row(ours, row) == largest_of_row(theirs, row);
  MESSAGE("top-1 agreement ", agree, " of 256, |difference of logits| median ", median(differences), ", largest ",
          std::ranges::max(differences));
  CHECK(agree == 256);
  CHECK(median(differences) < 1e-4);
}

TEST_CASE("golden: one training step on 32 test images: loss, every gradient, batch norm buffers") {
  const AuthorsResnet20 authors;
  SKIP_WITHOUT(authors);
  const Golden golden(authors.expected);
  const CifarRecords batch = authors.first(32);
  for (const Backend backend : {Backend::cpu, Backend::reference}) {
    const BackendScope scope(backend);
    const auto model = authors_model(authors.checkpoint);
    const Variable logits = model->forward(Variable(batch.images));
    Variable loss = cross_entropy(logits, batch.labels);
    loss.backward();
    CHECK(std::abs(loss.value().item() - golden.scalar("train_loss")) < 1e-5);
    CHECK(compare(doubles(logits.value()), doubles(golden["train_logits"])).norm_error < 1e-3);

    double worst_error = 0, worst_cosine = 1;
    std::string worst;
    size_t compared = 0;
    for (const Module::NamedParameter& parameter : model->parameters()) {
      CAPTURE(parameter.name);
      const Closeness close = compare(doubles(parameter.variable->grad()), doubles(golden["grad." + parameter.name]));
      CHECK(close.norm_error < 1e-3);
      CHECK(close.cosine > 0.9999);
      if (close.norm_error > worst_error) worst_error = close.norm_error, worst = parameter.name;
      worst_cosine = std::min(worst_cosine, close.cosine);
      ++compared;
    }
    size_t buffers = 0;
    for (const Module::NamedBuffer& buffer : model->buffers()) {
      CAPTURE(buffer.name);
      CHECK(compare(doubles(*buffer.tensor), doubles(golden["buffer_after." + buffer.name])).norm_error < 1e-5);
      ++buffers;
    }
    const std::ptrdiff_t in_file = std::ranges::count_if(golden.file().tensors, [](const NamedTensor& t) {
      return t.name.starts_with("grad.") || t.name.starts_with("buffer_after.");
    });
    CHECK(static_cast<std::ptrdiff_t>(compared + buffers) == in_file);
    MESSAGE("loss differs by ", loss.value().item() - golden.scalar("train_loss"), "; worst gradient error ",
            worst_error, " (", worst, "), worst cosine 1 - ", 1 - worst_cosine);
  }
}
