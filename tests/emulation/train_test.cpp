// The program with --device cuda, on the emulated device.
#include <doctest/doctest.h>

#include <string>

#include "tests/support/run_program.h"

using namespace apotnet::test;

namespace {

// Three batches of eight and one of two: the recorded step, and a size that comes once.
constexpr const char* kRun = R"({
  "data": {"name": "shapes10", "batch": 8, "augment": ["flip", "pad_crop"], "validation": 10, "train_count": 36, "test_count": 10},
  "stages": [{"name": "4bit", "bits": 4, "epochs": 1, "lr": 0.02}],
  "checkpoint": {"every_steps": 2}, "seed": 3})";

// The program's path and its command line up to the device; `before` are variables of the environment.
std::string program(const std::string& before = "") { return before + " nice " APOTNET_BINARY " "; }

double train_loss(const std::string& folder) {
  const std::string metrics = read_text(folder + "/metrics.jsonl"), key = "\"train_loss\":";
  const size_t found = metrics.find(key);
  REQUIRE(found != std::string::npos);
  return std::stod(metrics.substr(found + key.size()));
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

  const Finished found = run_program(program() + "eval --device cuda --data shapes10 --limit 10 --json --checkpoint " +
                                     one + "/checkpoints/best.safetensors");
  INFO(found.error);
  CHECK(found.exit_code == 0);
  CHECK(found.out.find("\"device\":\"cuda\"") != std::string::npos);
}

TEST_CASE("cuda: a command that computes on the CPU alone says so") {
  const Finished run = run_program(program() + "infer y --device cuda --checkpoint x");
  INFO(run.error);
  CHECK(run.exit_code == 69);
  CHECK(run.one_line());
}
