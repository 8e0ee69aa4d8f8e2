// Checkpoints that are whole files and yet nothing to compute with or to go on from.
#include "tools/training/model_file.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

#include "core/base/build_info.h"
#include "core/base/error.h"
#include "core/io/safetensors.h"
#include "tests/support/files.h"
#include "tools/config/config.h"
#include "tools/training/stage.h"

using namespace apotnet;
using test::TemporaryFolder;

namespace {

constexpr const char* kEvil = "evil\n\x1b[31mname";
constexpr const char* kEvilPrinted = "\"evil\\x0a\\x1b[31mname\"";

/// A 4-bit ResNet-8 as training saves it before its first step, and a folder to write changed copies of it to.
struct Checkpoint {
  TemporaryFolder folder;
  ResolvedConfig config =
      load_config(std::string(kSourceFolder) + "/configs/quickstart.json", {"model.name=resnet8", "data.name=cifar10"});
  Stage stage = make_stage(config.run, 0, 10);
  TensorFile file;

  Checkpoint() {
    save_checkpoint(path(), "", *stage.model, stage.optimizer, stage.position, 1, config.json,
                    std::vector<std::string>(10, "thing"));
    file = read_safetensors(path());
    file.metadata.erase("crc32c");
  }
  std::string path() const { return folder / "x.safetensors"; }
};

Tensor& tensor(TensorFile& file, const std::string& name) {
  const auto found = std::ranges::find(file.tensors, name, &NamedTensor::name);
  REQUIRE(found != file.tensors.end());
  return found->tensor;
}

// The message of the refusal: damaged data, one line that names the file, nothing that a terminal would obey.
std::string refusal(const std::string& path, const std::function<void()>& action) {
  std::string message;
  try {
    action();
  } catch (const Error& error) {
    message = error.what();
    CHECK_MESSAGE(error.category() == ErrorCategory::damaged_data, message);
    CHECK_MESSAGE(message.starts_with(path + ": "), message);
  }
  CHECK(message.find_first_of("\n\x1b") == std::string::npos);
  return message;
}

struct Row {
  const char* name;
  std::function<void(TensorFile&)> damage;
  std::string expected;  ///< part of the message
};

const std::vector<Row> kDamagedTensors{
    {"a last layer without rows",
     [](TensorFile& file) {
       tensor(file, "fc.weight") = Tensor::zeros({0, 64}, DType::f32);
       tensor(file, "fc.bias") = Tensor::zeros({0}, DType::f32);
     },
     "fc.weight [0, 64] is empty"},
    {"a threshold below 0", [](TensorFile& file) { tensor(file, "layer1.0.conv1.act_alpha").fill(-1); },
     "layer1.0.conv1.act_alpha is -1"},
    {"a variance below 0", [](TensorFile& file) { tensor(file, "layer2.0.bn1.running_var").data<float>()[1] = -0.5f; },
     "layer2.0.bn1.running_var holds -0.5"},
};

}  // namespace

TEST_CASE("checkpoints whose tensors no training leaves behind are damaged, whoever wrote them") {
  Checkpoint good;
  write_safetensors(good.path(), good.file);
  CHECK_NOTHROW(open_model(good.path(), {}));
  for (const Row& row : kDamagedTensors)
    for (const bool ours : {true, false}) {
      CAPTURE(row.name);
      CAPTURE(ours);
      TensorFile bad = good.file;
      for (NamedTensor& entry : bad.tensors) entry.tensor = entry.tensor.clone();
      row.damage(bad);
      if (!ours) bad.metadata.clear();
      write_safetensors(good.path(), bad);
      const std::string message = refusal(good.path(), [&] { open_model(good.path(), 4); });
      CHECK_MESSAGE(message.find(row.expected) != std::string::npos, message);
    }
}

TEST_CASE("text of a checkpoint stands in messages as text, whatever a terminal would make of it") {
  Checkpoint good;
  const std::string path = good.path();
  const auto check = [&](const char* name, TensorFile bad, const std::function<void()>& action) {
    CAPTURE(name);
    write_safetensors(path, bad);
    const std::string message = refusal(path, action);
    CHECK_MESSAGE(message.find(kEvilPrinted) != std::string::npos, message);
  };
  TensorFile foreign{{{kEvil, Tensor::scalar(1, DType::f32)}}, {}};
  check("no known network", foreign, [&] { open_model(path, 4); });
  TensorFile more = good.file;
  more.tensors.push_back(foreign.tensors[0]);
  check("a tensor of another network", more, [&] { start_from(*good.stage.model, path); });
  for (const char* key : {"min_reader_version", "stage"}) {
    TensorFile changed = good.file;
    changed.metadata[key] = kEvil;
    check(key, changed, [&] { open_model(path, {}); });
  }
  TensorFile changed = good.file;
  changed.metadata["step"] = kEvil;
  check("step", changed, [&] { read_training(path); });

  TensorFile alphas = good.file;
  alphas.tensors.push_back({std::string(kEvil) + "_alpha", Tensor::scalar(1, DType::f32)});
  write_safetensors(path, alphas);
  const std::string taken = start_from(*good.stage.model, path).description();
  CHECK_MESSAGE(taken.ends_with("1 alphas are left over, the first is \"evil\\x0a\\x1b[31mname_alpha\""), taken);
}
