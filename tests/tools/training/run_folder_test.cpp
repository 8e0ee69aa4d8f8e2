// What a run leaves in its folder, and what happens when it cannot write there.
#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

#include "core/io/safetensors.h"
#include "layers/state.h"
#include "tests/tools/training/small_run.h"
#include "tools/config/config.h"
#include "tools/training/run_folder.h"
#include "tools/training/stage.h"

using namespace apotnet;
using test::Finished;
using test::read_text;
using test::SmallRuns;
using test::TemporaryFolder;

namespace {

size_t temporary_files_in(const std::string& folder) {
  size_t count = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
    count += entry.path().string().find(".tmp.") != std::string::npos;
  return count;
}

}  // namespace

TEST_CASE("metrics, status and environment of a run of two stages") {
  const SmallRuns runs;
  REQUIRE(runs.train("run", "--set seed=5").exit_code == 0);
  std::istringstream lines(read_text(runs / "run/metrics.jsonl"));
  std::string kinds;
  for (std::string line; std::getline(lines, line);) {
    const auto object = nlohmann::json::parse(line);
    kinds += object["kind"].get<std::string>() + " " + object["stage"].get<std::string>() + " " +
             object["epoch"].dump() + "; ";
    CHECK(object.contains(object["kind"] == "test" ? "test_top1" : "validation_loss"));
  }
  CHECK(kinds == "epoch float 1; test float 1; epoch 3bit 1; epoch 3bit 2; test 3bit 2; ");

  const auto status = nlohmann::json::parse(read_text(runs / "run/status.json"));
  CHECK(status["state"] == "done");
  CHECK(status["exit_code"] == 0);
  CHECK(status["stage"] == "3bit");
  CHECK(status["stage_number"] == 2);
  CHECK(status["epoch"] == 2);
  CHECK(status["step"] == 3);
  CHECK(status["eta_seconds"] == 0);
  CHECK(status["images_per_second"] > 0);

  const std::string environment = read_text(runs / "run/environment.json");
  const auto object = nlohmann::json::parse(environment);
  CHECK(object["threads"] == 1);
  CHECK(object["device"] == "cpu");
  CHECK(object["seed"] == 5);
  CHECK(object["versions"].contains("apotnet"));
  CHECK(object["overrides"][0] == "seed=5");
  CHECK(object["command_line"][1] == "train");
  CHECK(object["command_line"].back() == "seed=5");
}

TEST_CASE("a stage starts from the weights, statistics and alphas of the one before it") {
  const SmallRuns runs;
  const std::string stages =
      "--set 'stages=[{\"name\": \"a\", \"bits\": 32, \"epochs\": 1, \"lr\": 0.05},"
      "{\"name\": \"b\", \"bits\": 4, \"epochs\": 1, \"lr\": 0.02, \"weight_decay\": 1e-4},"
      "{\"name\": \"c\", \"bits\": 2, \"epochs\": 1, \"lr\": 0.02, \"weight_decay\": 3e-5, \"init\": \"best\"}]'";
  const Finished trained = test::run_program(std::string(APOTNET_BINARY) + " train " + runs / "small.json" + " --out " +
                                             runs / "run" + " --threads 1 " + stages);
  REQUIRE(trained.exit_code == 0);
  CHECK(trained.error.find("a.last.safetensors: 128 tensors taken; 40 alphas start fresh\n") != std::string::npos);
  CHECK(trained.error.find("b.best.safetensors: 168 tensors taken\n") != std::string::npos);

  const RunConfig run = load_config(runs / "run/config.json", {}).run;
  CHECK(run.stages[2].weight_decay == 3e-5);
  const std::string b = runs / "run/checkpoints/b.best.safetensors";
  const TensorFile file = read_safetensors(b);
  Stage stage = make_stage(run, 2, 10);
  CHECK(start_from(*stage.model, b).fresh_alphas == 0);
  size_t alphas = 0;
  for (const NamedTensor& entry : state_of(*stage.model)) {
    const Tensor& wanted = *file.find(entry.name);
    CHECK_MESSAGE(std::equal(entry.tensor.raw(), entry.tensor.raw() + entry.tensor.bytes(), wanted.raw()), entry.name);
    alphas += entry.name.ends_with("alpha") && entry.tensor.item() != 3 && entry.tensor.item() != 8;
  }
  CHECK(alphas == 40);
}

TEST_CASE("sub-batches and the ablation's switches: any number of threads, found again by eval and inspect") {
  const SmallRuns runs;
  const std::string switches =
      "--set quant.rcf=false --set quant.weight_norm=false --set data.ghost_batch=3 --set "
      "optimizer.weight_alpha_lr=1e-4";
  REQUIRE(runs.train("one", switches, 1).exit_code == 0);
  REQUIRE(runs.train("two", switches, 2).exit_code == 0);
  CHECK(read_text(runs.last("one")) == read_text(runs.last("two")));
  REQUIRE(runs.train("whole", "--set data.ghost_batch=8").exit_code == 0);
  REQUIRE(runs.train("plain").exit_code == 0);
  CHECK(runs.metrics("whole") == runs.metrics("plain"));
  CHECK(runs.metrics("one") != runs.metrics("plain"));

  const std::string program = APOTNET_BINARY;
  const auto json_of = [&](const std::string& command) {
    const Finished finished = test::run_program(program + " " + command + " --json --quiet");
    CHECK(finished.exit_code == 0);
    return nlohmann::json::parse(finished.out);
  };
  for (const char* run : {"one", "plain"})
    CHECK(json_of("eval --engine float --checkpoint " + runs.last(run))["loss"] ==
          json_of("eval --engine integer --checkpoint " + runs.last(run))["loss"]);
  const auto inspected = json_of("inspect " + runs.last("one"));
  CHECK(inspected["layers"].size() == 20);
  for (const auto& layer : inspected["layers"]) {
    CHECK(layer["weight_alpha"] < 1);  // of raw weights, a multiple of their deviation and not about 3
    CHECK(layer["clipped"] < 0.1);
  }

  // The thresholds fit the weights that a stage starts from, not those it drew.
  const RunConfig run = load_config(runs / "one/config.json", {}).run;
  Stage stage = make_stage(run, 1, 10);
  TensorFile file = read_safetensors(runs / "one/checkpoints/float.last.safetensors");
  for (NamedTensor& entry : file.tensors)
    if (entry.name == "layer1.0.conv1.weight")
      for (float& value : entry.tensor.data<float>()) value *= 4;
  add_checksums(file);
  write_safetensors(runs / "wide.safetensors", file);
  const auto alpha = [&] {
    for (const auto& parameter : stage.model->parameters())
      if (parameter.name == "layer1.0.conv1.weight_quant.wgt_alpha") return parameter.variable->value().item();
    return 0.0;
  };
  CHECK(start_from(*stage.model, runs / "one/checkpoints/float.last.safetensors").fresh_alphas == 40);
  const double narrow = alpha();
  CHECK(start_from(*stage.model, runs / "wide.safetensors").fresh_alphas == 40);
  CHECK(alpha() == doctest::Approx(4 * narrow).epsilon(1e-5));

  // Thresholds of normalised weights are in other units: those of raw ones start fresh, the inputs' are taken.
  CHECK(start_from(*stage.model, runs.last("plain")).fresh_alphas == 20);
  CHECK(alpha() < 1);
  Stage normalised = make_stage(load_config(runs / "plain/config.json", {}).run, 1, 10);
  CHECK(start_from(*normalised.model, runs.last("one")).fresh_alphas == 20);
  CHECK(start_from(*normalised.model, runs.last("plain")).fresh_alphas == 0);
  CHECK(start_from(*stage.model, runs.last("one")).fresh_alphas == 0);
}

TEST_CASE("a run clears away what a killed one was writing, and no file of others") {
  const TemporaryFolder folder;
  std::filesystem::create_directories(folder / "checkpoints");
  const std::vector<std::string> leftovers{"config.json.tmp.1",
                                           "status.json.tmp.23",
                                           "report.html.tmp.4",
                                           "metrics.jsonl.tmp.5",
                                           "checkpoints/last.safetensors.tmp.6",
                                           "checkpoints/last.prev.safetensors.tmp.7",
                                           "checkpoints/4bit.best.safetensors.tmp.8"};
  const std::vector<std::string> of_others{"notes.txt.tmp.1",
                                           "config.json.tmp.x",
                                           "config.json.tmp.",
                                           "x.tmp.2",
                                           "checkpoints/mine.safetensors.tmp.3",
                                           "checkpoints/config.json.tmp.4"};
  for (const auto* names : {&leftovers, &of_others})
    for (const std::string& name : *names) test::write_text(folder / name, "x");
  const RunFolder run(folder.path());
  for (const std::string& name : leftovers) CHECK_MESSAGE(!std::filesystem::exists(folder / name), name);
  for (const std::string& name : of_others) CHECK_MESSAGE(std::filesystem::exists(folder / name), name);
}

TEST_CASE("a full disk, a folder that may not be written and one that vanishes: one line, 74, the former checkpoint") {
  const SmallRuns runs;
  REQUIRE(runs.train("run", "", 1, "APOTNET_CRASH_AT=former-moved:2").exit_code == 137);
  const std::string former = read_text(runs.last("run"));
  struct Row {
    std::string name, command;
  };
  std::vector<Row> rows{{"full disk", "ulimit -f 200; " + runs.command("run", "--resume")},
                        {"not even the small files fit", "ulimit -f 1; " + runs.command("run", "--resume")}};
  // Root may write anywhere, but not without its capabilities.
  const std::string plain_user = "setpriv --bounding-set -all --inh-caps -all ";
  if (::geteuid() != 0)
    rows.push_back({"read-only", runs.command("run", "--resume")});
  else if (test::run_program(plain_user + "true").exit_code == 0)
    rows.push_back({"read-only", plain_user + runs.command("run", "--resume")});
  for (const Row& row : rows) {
    CAPTURE(row.name);
    const bool read_only = row.name == "read-only";
    const std::filesystem::path folder = runs / "run/checkpoints";
    using std::filesystem::perms;
    if (read_only) std::filesystem::permissions(folder, perms::owner_read | perms::owner_exec);
    const Finished finished = test::run_program("sh -c '" + row.command + "'");
    std::filesystem::permissions(folder, perms::owner_all);
    CHECK(finished.exit_code == 74);
    CHECK_MESSAGE(finished.one_line(), finished.error);
    CHECK(finished.error.find("cannot write") != std::string::npos);
    CHECK(read_text(runs.last("run")) == former);
    CHECK(temporary_files_in(runs / "run") == 0);
    if (row.name == "full disk") CHECK(nlohmann::json::parse(read_text(runs / "run/status.json"))["state"] == "failed");
  }

  const Finished vanished = test::run_program("(until test -e " + runs / "moved/checkpoints/last.prev.safetensors" +
                                              "; do sleep 0.02; done; mv " + runs / "moved " + runs / "gone" +
                                              ") & exec " + runs.command("moved", "--set stages.0.epochs=10000"));
  CHECK(vanished.exit_code == 74);
  CHECK_MESSAGE(vanished.one_line(), vanished.error);
  CHECK_NOTHROW(read_training(runs.last("gone")));
}
