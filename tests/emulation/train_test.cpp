// The program with --device cuda, on the emulated device.
#include <doctest/doctest.h>

#include <algorithm>
#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include "core/io/safetensors.h"
#include "tests/data/picture_files.h"
#include "tests/support/run_program.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

// Three batches of eight and one of two: the recorded step, and a size that comes once.
constexpr const char* kRun = R"({
  "model": {"name": "resnet8"},
  "data": {"name": "shapes10", "batch": 8, "augment": ["flip", "pad_crop"], "validation": 6, "train_count": 32, "test_count": 10},
  "stages": [{"name": "4bit", "bits": 4, "epochs": 1, "lr": 0.02}],
  "checkpoint": {"every_steps": 2}, "seed": 3})";

// Two steps of three images.
constexpr const char* kShortRun = R"({
  "model": {"name": "resnet8"},
  "data": {"name": "shapes10", "batch": 3, "augment": [], "validation": 4, "train_count": 10, "test_count": 10},
  "stages": [{"name": "4bit", "bits": 4, "epochs": 1, "lr": 0.02}],
  "checkpoint": {"every_steps": 1}, "seed": 3})";

// Four steps of two images in float, and four with codes.
constexpr const char* kCheckedRun = R"({
  "model": {"name": "resnet8"},
  "data": {"name": "shapes10", "batch": 2, "augment": [], "validation": 2, "train_count": 10, "test_count": 10, "test_limit": 2},
  "stages": [{"name": "float", "bits": 32, "epochs": 1, "lr": 0.02},
             {"name": "4bit", "bits": 4, "epochs": 1, "lr": 0.02, "init": "last"}]})";

// Steps of parts of two and two pictures, the last one of two and one.
constexpr const char* kPictureRun = R"({
  "model": {"name": "resnet8"},
  "data": {"name": "imagenet", "batch": 4, "accumulate": 2, "augment": ["random_crop", "flip"], "validation": 0,
           "test_limit": 4, "image_size": 32, "resized_side": 36},
  "quant": {"variant": "imagenet"},
  "stages": [{"name": "4bit", "bits": 4, "epochs": 1, "lr": 0.02}],
  "checkpoint": {"every_steps": 2}, "seed": 5})";

// The program's path and its command line up to the device; `before` are variables of the environment.
std::string program(const std::string& before = "") { return before + " nice " APOTNET_BINARY " "; }

double number_after(const std::string& key, const std::string& text) {
  const size_t found = text.find(key);
  REQUIRE(found != std::string::npos);
  return std::stod(text.substr(found + key.size()));
}

double train_loss(const std::string& folder) {
  return number_after("\"train_loss\":", read_text(folder + "/metrics.jsonl"));
}

}  // namespace

TEST_CASE("cuda: a run on the device gives the same bits twice, and about the loss of the CPU") {
  const TemporaryFolder folder;
  write_text(folder / "run.json", kRun);
  const auto train = [&](const std::string& name, const std::string& before, const std::string& device) {
    const Finished run = run_program(program(before) + "train " + folder / "run.json" + " --quiet --threads 1 --out " +
                                     folder / name + " --device " + device);
    INFO(run.error);
    REQUIRE(run.exit_code == 0);
    return folder / name;
  };
  const std::string one = train("one", "EMULATION_SEED=11", "cuda"), two = train("two", "EMULATION_SEED=12", "cuda"),
                    cpu = train("cpu", "", "cpu");
  CHECK(read_text(one + "/checkpoints/last.safetensors") == read_text(two + "/checkpoints/last.safetensors"));
  CHECK(train_loss(one) == doctest::Approx(train_loss(cpu)).epsilon(0.03));
  CHECK(train_loss(one) != train_loss(cpu));
  for (const char* key : {"\"weight_alpha_gradient\":", "\"activation_alpha_gradient\":"}) {
    CAPTURE(key);
    const auto gradient = [&](const std::string& run) { return number_after(key, read_text(run + "/metrics.jsonl")); };
    CHECK(gradient(one) > 0);
    CHECK(gradient(one) == doctest::Approx(gradient(cpu)).epsilon(0.2));
  }

  // Both engines on the device, and the integer one on the CPU.
  std::vector<double> losses;
  for (const std::string how :
       {"--device cuda --engine float", "--device cuda --engine integer", "--device cpu --engine integer"}) {
    CAPTURE(how);
    const Finished found = run_program(program() + "eval " + how + " --data shapes10 --limit 9 --json --checkpoint " +
                                       one + "/checkpoints/best.safetensors");
    INFO(found.error);
    REQUIRE(found.exit_code == 0);
    CHECK(found.out.find(how.substr(9, 3) == "cpu" ? "\"device\":\"cpu\"" : "\"device\":\"cuda\"") !=
          std::string::npos);
    losses.push_back(number_after("\"loss\":", found.out));
  }
  CHECK(losses[1] == losses[0]);
  CHECK(losses[2] == doctest::Approx(losses[0]).epsilon(0.03));

  const Finished bench =
      run_program(program() + "bench infer --device cuda --batch 2 --seconds 0 --json --checkpoint " + one +
                  "/checkpoints/best.safetensors");
  INFO(bench.error);
  CHECK(bench.exit_code == 0);
  CHECK(bench.out.find("\"device\":\"cuda\"") != std::string::npos);

  // Kernels only raise a flag where a layer can compute nothing; the error names it as on the CPU.
  TensorFile file = read_safetensors(one + "/checkpoints/best.safetensors");
  for (NamedTensor& entry : file.tensors)
    if (entry.name == "layer1.0.conv1.weight") std::ranges::fill(entry.tensor.data<float>(), 0.25f);
  add_checksums(file);
  write_safetensors(folder / "flat.safetensors", file);
  for (const std::string device : {"cuda", "cpu"}) {
    const Finished flat = run_program(program() + "eval --engine float --data shapes10 --limit 2 --device " + device +
                                      " --checkpoint " + folder / "flat.safetensors");
    CHECK(flat.exit_code == 76);
    CHECK(flat.error.find("error: layer1.0.conv1: the weights' standard deviation is 0") != std::string::npos);
  }
}

TEST_CASE("cuda: the number of the device reaches the driver") {
  const Finished run = run_program(program() + "eval --device cuda:1 --checkpoint x");
  CHECK(run.exit_code == 69);
  CHECK(run.error.find("no CUDA device 1: there is cuda:0 alone") != std::string::npos);
}

TEST_CASE("cuda: pictures in parts, cut at random, and a run resumed inside an epoch has the same bits") {
  const TemporaryFolder folder;
  write_picture_folders(folder.path(), 3, 5);
  write_text(folder / "run.json", kPictureRun);
  const auto train = [&](const std::string& name, const std::string& device, const std::string& more = "") {
    const Finished run = run_program(program() + "train " + folder / "run.json --quiet --threads 1 --device " + device +
                                     " --data imagenet:" + folder.path().string() + " --out " + folder / name + more);
    INFO(run.error);
    REQUIRE(run.exit_code == 0);
    return folder / name;
  };
  const std::string whole = train("whole", "cuda"), cpu = train("cpu", "cpu"), last = "/checkpoints/last.safetensors";
  CHECK(train_loss(whole) == doctest::Approx(train_loss(cpu)).epsilon(0.03));
  // Of the four steps of its epoch the run has done two at the last checkpoint but one.
  const std::string wanted = read_text(whole + last);
  std::filesystem::rename(whole + "/checkpoints/last.prev.safetensors", whole + last);
  CHECK(read_text(whole + last) != wanted);
  train("whole", "cuda", " --resume");
  CHECK(read_text(whole + last) == wanted);
}

TEST_CASE("cuda: a resumed run takes the engines of the run folder, and says so where they are gone") {
  const TemporaryFolder folder;
  write_text(folder / "run.json", kShortRun);
  const std::string run = folder / "run", engines = run + "/engines.json", last = run + "/checkpoints/last.safetensors",
                    command = program() + "train " + folder / "run.json" + " --quiet --threads 1 --device cuda ";
  const Finished whole = run_program(command + "--out " + run);
  INFO(whole.error);
  REQUIRE(whole.exit_code == 0);
  const std::string chosen = read_text(engines), end = read_text(last);
  CHECK(chosen.find(R"(: "twin:1")") != std::string::npos);

  // The checkpoint before the last one, from which the last step is made again.
  std::filesystem::rename(run + "/checkpoints/last.prev.safetensors", run + "/checkpoints/before.safetensors");
  const auto resume_with = [&](const std::string& content) {
    write_text(engines, content);
    const Finished resumed = run_program(command + "--resume " + run + "/checkpoints/before.safetensors");
    INFO(resumed.error);
    REQUIRE(resumed.exit_code == 0);
    CHECK(read_text(last) == end);
    return resumed.error;
  };
  const auto named = [&](const std::string& engine) {
    return std::regex_replace(chosen, std::regex("twin:1"), engine);
  };
  CHECK(resume_with(named("twin:2")) == "");
  CHECK(read_text(engines) == named("twin:2"));

  const std::string warning = resume_with(named("gone-1.0:7:"));
  CHECK(std::ranges::count(warning, '\n') == 1);
  CHECK(warning.find("gone-1.0:7:") != std::string::npos);
  CHECK(read_text(engines).find(R"(: "twin:1")") != std::string::npos);

  CHECK(resume_with("[1, 2").find("engines.json: not an object of engines") != std::string::npos);
  CHECK(read_text(engines).find(R"(: "twin:1")") != std::string::npos);

  const Finished unchained =
      run_program(program("APOTNET_CHAINS=off") + "train " + folder / "run.json" +
                  " --quiet --threads 1 --device cuda --resume " + run + "/checkpoints/before.safetensors");
  CHECK(unchained.error.find(", without chains)\"") != std::string::npos);

  // Another device is said where the checkpoint is of it, so not of those that the change has led to.
  const std::string on_cpu = program() + "train " + folder / "run.json" + " --quiet --threads 1 --resume " + run;
  CHECK(run_program(on_cpu + "/checkpoints/before.safetensors")
            .error.find(R"(was trained on "cuda: emulated device ()") != std::string::npos);
  CHECK(run_program(on_cpu).error.find("was trained") == std::string::npos);
  CHECK(run_program(on_cpu + " --device cuda").error.find(R"(was trained on "cpu")") != std::string::npos);
}

TEST_CASE("cuda: a run whose kernels are checked compares them, in float stages and in quantized ones") {
  const TemporaryFolder folder;
  write_text(folder / "run.json", kCheckedRun);
  const Finished run = run_program(program() + "train " + folder / "run.json --quiet --threads 1 --device cuda " +
                                   "--kernels checked --out " + folder / "run");
  INFO(run.error);
  CHECK(run.exit_code == 0);
}

TEST_CASE("cuda: an unknown APOTNET_CHAINS is an error of its own, a known one is what doctor shows") {
  const Finished wrong = run_program(program("APOTNET_CHAINS=of") + "eval --device cuda --checkpoint x");
  CHECK(wrong.exit_code == 64);
  CHECK(wrong.error.find("APOTNET_CHAINS=of: off is its only value") != std::string::npos);
  const Finished off = run_program(program("APOTNET_CHAINS=off") + "doctor");
  CHECK(off.out.find("emulated device (sm_90, 4 multiprocessors, without chains)") != std::string::npos);
}

TEST_CASE("cuda: a command that computes on the CPU alone says so") {
  const Finished run = run_program(program() + "infer y --device cuda --checkpoint x");
  INFO(run.error);
  CHECK(run.exit_code == 69);
  CHECK(run.one_line());
}
