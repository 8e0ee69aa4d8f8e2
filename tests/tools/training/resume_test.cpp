// Runs that are killed, interrupted and resumed end with the bytes of a run that never stopped.
#include <doctest/doctest.h>

#include <chrono>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "core/io/atomic_file.h"
#include "core/io/safetensors.h"
#include "tests/tools/training/small_run.h"
#include "tools/training/checkpoint.h"

using namespace apotnet;
using test::Finished;
using test::read_text;
using test::SmallRuns;

namespace {

// Lines of metrics.jsonl without what is of one process alone: its clock, and the thresholds' gradients that it saw.
std::vector<nlohmann::json> json_lines(const SmallRuns& runs, const std::string& run) {
  std::istringstream lines(read_text(runs / run + "/metrics.jsonl"));
  std::vector<nlohmann::json> result;
  for (std::string line; std::getline(lines, line);) {
    result.push_back(nlohmann::json::parse(line));
    result.back().erase("seconds");
    result.back().erase("images_per_second");
    if (result.back()["kind"] != "epoch") continue;
    for (auto& layer : result.back()["layers"]) {
      CHECK(layer.erase("weight_alpha_gradient") == 1);
      CHECK(layer.erase("activation_alpha_gradient") == 1);
    }
  }
  return result;
}

void check_same_run(const SmallRuns& runs, const std::string& run, const std::string& wanted) {
  CHECK(read_text(runs.last(run)) == read_text(runs.last(wanted)));
  CHECK(read_text(runs.best(run)) == read_text(runs.best(wanted)));
  const std::string kept = "/checkpoints/float.best.safetensors";
  CHECK(read_text(runs / run + kept) == read_text(runs / wanted + kept));
  CHECK(runs.metrics(run) == runs.metrics(wanted));
  CHECK(json_lines(runs, run) == json_lines(runs, wanted));
  for (const auto& entry : std::filesystem::recursive_directory_iterator(runs / run))
    CHECK_MESSAGE(entry.path().string().find(".tmp.") == std::string::npos, entry.path().string());
}

}  // namespace

TEST_CASE("a run killed at each point of writing its checkpoints goes on to the same bytes") {
  const SmallRuns runs;
  REQUIRE(runs.train("whole").exit_code == 0);
  // A process writes four small files before its first checkpoint, so the fifth time is one of a checkpoint.
  int threads = 1;
  for (const std::string point : kWritePoints) {
    CAPTURE(point);
    const std::string times = point.starts_with("former") ? "2" : "5";
    const Finished killed = runs.train("killed", "--resume", threads, "APOTNET_CRASH_AT=" + point + ":" + times);
    CHECK(killed.exit_code == 137);
    if (std::filesystem::exists(runs.last("killed"))) CHECK_NOTHROW(read_training(runs.last("killed")));
    threads = 3 - threads;
  }
  REQUIRE(runs.train("killed", "--resume", 2).exit_code == 0);
  check_same_run(runs, "killed", "whole");
}

TEST_CASE("a run killed or interrupted at any time goes on to the same bytes, with any number of threads") {
  const SmallRuns runs;
  const auto start = std::chrono::steady_clock::now();
  REQUIRE(runs.train("whole").exit_code == 0);
  const double whole = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  // Stopped after shares of the time that a whole run takes here. One that came to its end before is compared and begun
  // anew, and the next is stopped earlier: sooner or later each machine is slow enough.
  int stops = 0, runs_begun = 1;
  for (double scale = 1; stops < 8 && scale > 1e-3;) {
    const std::string run = text("stopped", runs_begun);
    const std::string moment = text(std::max(0.01, scale * whole * (10 + 17 * (stops * 7 % 10) / 4) / 60));
    const std::string before =
        std::string("timeout --foreground --preserve-status -s ") + (stops % 3 ? "KILL " : "INT ") + moment;
    const int code = runs.train(run, "--resume", 1 + stops % 2, before).exit_code;
    REQUIRE_MESSAGE((code == 137 || code == 130 || code == 0), code);
    if (code != 0) {
      ++stops;
      continue;
    }
    check_same_run(runs, run, "whole");
    ++runs_begun;
    scale /= 2;
  }
  CHECK(stops == 8);
  const std::string stopped = text("stopped", runs_begun);
  REQUIRE(runs.train(stopped, "--resume", 2, "").exit_code == 0);
  check_same_run(runs, stopped, "whole");
  // A finished run has nothing left but its test.
  REQUIRE(runs.train(stopped, "--resume --set data.workers=2").exit_code == 0);
  check_same_run(runs, stopped, "whole");
  const auto status = nlohmann::json::parse(read_text(runs / stopped + "/status.json"));
  CHECK(status["state"] == "done");
  CHECK(status["stage"] == "3bit");
  CHECK(status["epoch"] == 2);
  CHECK(status["step"] == 3);
  const std::string log = read_text(runs / stopped + "/train.log");
  CHECK(log.find(" 3bit: test ") != std::string::npos);
}

TEST_CASE("an interrupt says how to go on, and status.json that it came") {
  const SmallRuns runs;
  const Finished stopped =
      test::run_program("timeout --foreground --preserve-status -s TERM 1 " + std::string(APOTNET_BINARY) + " train " +
                        runs / "small.json" + " --threads 1 --set stages.0.epochs=10000 --out " + runs / "run");
  CHECK(stopped.exit_code == 143);
  CHECK(stopped.error.find("last.safetensors; to go on, give the same command again with --resume\n") !=
        std::string::npos);
  const auto status = nlohmann::json::parse(read_text(runs / "run/status.json"));
  CHECK(status["state"] == "interrupted");
  CHECK(status["exit_code"] == 143);
}

TEST_CASE("a run resumed on too little data says so, and its status where it stands") {
  const test::TemporaryFolder folder;
  // A CIFAR-10 of `records` pictures a file.
  const auto write_data = [&](const std::string& name, int records) {
    std::string content;
    for (int i = 0; i < records; ++i)
      content += std::string(1, static_cast<char>(i % 10)) + std::string(3072, static_cast<char>(7 * i));
    std::filesystem::create_directories(folder / name);
    for (const char* file :
         {"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"})
      test::write_text(folder / name + "/" + file + ".bin", content);
  };
  write_data("whole", 8);
  write_data("part", 3);
  test::write_text(folder / "run.json", R"({
    "data": {"batch": 5, "validation": 5, "augment": []}, "checkpoint": {"every_steps": 4},
    "stages": [{"name": "float", "bits": 32, "epochs": 3, "lr": 0.1}]})");
  const auto train = [&](const std::string& before, const std::string& more) {
    return test::run_program(before + " " + APOTNET_BINARY + " train " + folder / "run.json" + " --threads 1 --out " +
                             folder / "run" + " --data cifar10:" + folder / more);
  };
  // At the third checkpoint, so that the one inside the first epoch is the newest.
  REQUIRE(train("APOTNET_CRASH_AT=former-moved:2", "whole").exit_code == 137);
  const Finished refused = train("", "part --resume");
  CHECK(refused.exit_code == 78);
  CHECK(refused.error.find("stands at batch 4 of an epoch, but one of cifar10 has 2; is this other data?") !=
        std::string::npos);
  const auto status = nlohmann::json::parse(read_text(folder / "run/status.json"));
  CHECK(status["state"] == "failed");
  CHECK(status["epoch"] == 1);
  CHECK(status["step"] == 4);
}

TEST_CASE("resuming with another configuration is refused with the list of differences") {
  const SmallRuns runs;
  REQUIRE(runs.train("run", "", 1, "APOTNET_CRASH_AT=former-moved:2").exit_code == 137);
  const std::string before = read_text(runs.last("run"));
  const Finished refused =
      runs.train("run", "--resume --set stages.1.bits=2 --set data.batch=4 --set data.workers=2 --set seed=4");
  CHECK(refused.exit_code == 78);
  for (const char* line : {"last.safetensors: the configuration has changed", "\n  data.batch: 8 -> 4\n",
                           "\n  seed: 3 -> 4\n", "\n  stages.1.weight_bits: 3 -> 2\n"})
    CHECK_MESSAGE(refused.error.find(line) != std::string::npos, refused.error);
  CHECK(refused.error.find("workers") == std::string::npos);
  const Finished shorter =
      runs.train("run", "--resume --set 'stages=[{\"name\": \"float\", \"bits\": 32, \"epochs\": 1, \"lr\": 0.05}]'");
  CHECK(shorter.error.find("\n  stages.1.name: \"3bit\" -> none\n") != std::string::npos);
  CHECK(read_text(runs.last("run")) == before);
}

TEST_CASE("a damaged last is reported and the one before it used; --resume PATH takes a checkpoint or a folder") {
  const SmallRuns runs;
  REQUIRE(runs.train("whole").exit_code == 0);
  REQUIRE(runs.train("run", "", 1, "APOTNET_CRASH_AT=folder-flushed:12").exit_code == 137);
  std::string bytes = read_text(runs.last("run"));
  const size_t epoch = bytes.find("\"step\":\"") + 8;
  bytes[epoch] = static_cast<char>(bytes[epoch] ^ 1);  // a digit of the metadata
  test::write_text(runs.last("run"), bytes);
  const std::string train = std::string(APOTNET_BINARY) + " train " + runs / "small.json" + " --threads 1 --resume ";
  const Finished resumed = test::run_program(train + runs / "run");
  CHECK(resumed.exit_code == 0);
  CHECK(resumed.error.find("last.safetensors: the metadata do not match their checksum") != std::string::npos);
  CHECK(resumed.error.find("resumes " + runs / "run" + "/checkpoints/last.prev.safetensors") != std::string::npos);
  check_same_run(runs, "run", "whole");

  // Also one of the end of a stage, although `best` belongs to the next by now.
  for (const std::string name : {"best", "float.last"}) {
    CHECK(test::run_program(train + runs / "run/checkpoints/" + name + ".safetensors").exit_code == 0);
    check_same_run(runs, "run", "whole");
  }
  // One that is there and cannot be opened is no reason to start over.
  const std::string ring = runs / "run/checkpoints/last.safetensors";
  std::filesystem::remove(ring);
  std::filesystem::create_symlink(ring, ring);
  const Finished older = test::run_program(train + runs / "run");
  CHECK(older.error.find("last.safetensors: cannot open: Too many levels of symbolic links") != std::string::npos);
  CHECK(older.exit_code == 74);  // and no place for the next one
  std::filesystem::remove(ring);
  for (const std::string name : {"last", "last.prev", "best"})
    test::write_text(runs / "run" + "/checkpoints/" + name + ".safetensors", "{}");
  struct Row {
    std::string path;
    int exit_code;
  };
  std::filesystem::copy_file(runs.last("whole"), runs / "astray.safetensors");
  for (const Row& row : {Row{runs / "run", 65}, Row{runs.last("run"), 65}, Row{runs / "nowhere", 66},
                         Row{runs / "", 66}, Row{runs / "astray.safetensors", 64}}) {
    const Finished refused = test::run_program(train + row.path + " --quiet");
    CHECK_MESSAGE(refused.exit_code == row.exit_code, row.path);
    CHECK(refused.one_line());
  }
}

TEST_CASE("a checkpoint of a stage that its configuration does not have is damaged") {
  const SmallRuns runs;
  REQUIRE(runs.train("run", "", 1, "APOTNET_CRASH_AT=former-moved:2").exit_code == 137);
  const TensorFile good = read_safetensors(runs.last("run"));
  for (const auto& [key, value] : {std::pair{"stage_number", "7"}, {"stage_number", "1"}, {"stage", "other\n"}}) {
    TensorFile bad = good;
    bad.metadata[key] = value;
    add_checksums(bad);
    write_safetensors(runs.last("run"), bad);
    const Finished refused = runs.train("run", "--resume");
    CHECK(refused.exit_code == 65);
    CHECK(refused.one_line());
    CHECK_MESSAGE(refused.error.find(" of the configuration is not \"") != std::string::npos, refused.error);
  }
}

TEST_CASE("lines of metrics that are none go when a run is resumed") {
  const SmallRuns runs;
  REQUIRE(runs.train("whole").exit_code == 0);
  REQUIRE(runs.train("run", "", 1, "APOTNET_CRASH_AT=former-moved:6").exit_code == 137);
  const std::string lines = read_text(runs / "run/metrics.jsonl");
  REQUIRE(!lines.empty());
  test::write_text(runs / "run/metrics.jsonl",
                   "{\"stage\":5}\n{\"stage\":\"float\",\"epoch\":\"1\"}\n{\"stage\":\"float\",\"kind\":[]}\n"
                   "{\"stage\":\"float\",\"epoch\":1e300}\n[]\nhm\n" +
                       lines);
  const Finished resumed = runs.train("run", "--resume");
  CHECK_MESSAGE(resumed.exit_code == 0, resumed.error);
  check_same_run(runs, "run", "whole");
}

TEST_CASE("the newest run of a configuration is resumed, and a run in progress is left alone") {
  const SmallRuns runs;
  const std::string train = "cd " + runs / "" + " && " + std::string(APOTNET_BINARY) + " train small.json --threads 1 ";
  const Finished unknown = test::run_program(train + "--resume");
  CHECK(unknown.exit_code == 0);
  CHECK(unknown.error.find("runs/small: no checkpoint to resume from; starts from the beginning") != std::string::npos);
  CHECK(test::run_program("cd " + runs / "" + " && APOTNET_CRASH_AT=former-moved:1 " + std::string(APOTNET_BINARY) +
                          " train small.json --threads 1")
            .exit_code == 137);
  const Finished resumed = test::run_program(train + "--resume");
  CHECK(resumed.exit_code == 0);
  CHECK(resumed.error.find("resumes runs/small-2/checkpoints/last.safetensors") != std::string::npos);
  check_same_run(runs, "runs/small-2", "runs/small");

  // A number that became free in between changes neither.
  std::filesystem::rename(runs / "runs/small", runs / "runs/small-other");
  const Finished newest = test::run_program(train + "--resume");
  CHECK(newest.error.find("resumes runs/small-2/checkpoints/last.safetensors") != std::string::npos);
  const Finished third = test::run_program(train);
  CHECK(third.out.find("run runs/small-3,") != std::string::npos);
  std::filesystem::rename(runs / "runs/small-other", runs / "runs/small");

  const Finished busy = test::run_program("flock " + runs / "runs/small " + runs.command("runs/small", "--resume"));
  CHECK(busy.exit_code == 64);
  CHECK(busy.error.find("another process trains there") != std::string::npos);
}

TEST_CASE("a run of which only a part is there: what is missing is made again or named") {
  namespace fs = std::filesystem;
  const SmallRuns runs;
  REQUIRE(runs.train("whole").exit_code == 0);
  // After the first epoch of the last stage.
  REQUIRE(runs.train("cut", "", 1, "APOTNET_CRASH_AT=former-moved:8").exit_code == 137);
  fs::create_directories(runs / "part/checkpoints");
  fs::copy_file(runs.last("cut"), runs.last("part"));
  const Finished part = runs.train("part", "--resume");
  CHECK(part.exit_code == 0);
  CHECK(part.error.find("best.safetensors: cannot open") != std::string::npos);
  CHECK(part.error.find("; the best epoch is chosen among those to come") != std::string::npos);
  CHECK(read_text(runs.last("part")).size() == read_text(runs.last("whole")).size());
  CHECK(fs::exists(runs / "part/config.json"));

  // Nothing is left to be done that could choose one.
  fs::create_directories(runs / "ended/checkpoints");
  fs::copy_file(runs.last("whole"), runs.last("ended"));
  const Finished ended = runs.train("ended", "--resume");
  CHECK(ended.exit_code == 66);
  CHECK(ended.error.find("best.safetensors: cannot open") != std::string::npos);

  // Checkpoints of earlier stages alone are no run to go on with, nor room for a new one.
  fs::create_directories(runs / "stages/checkpoints");
  fs::copy_file(runs / "whole/checkpoints/float.best.safetensors", runs / "stages/checkpoints/float.best.safetensors");
  const Finished stages = runs.train("stages", "--resume");
  CHECK(stages.exit_code == 66);
  CHECK(stages.error.find("holds neither last, last.prev nor best") != std::string::npos);
  CHECK(runs.train("stages").exit_code == 64);
}

TEST_CASE("a run whose checkpoint was written before a field existed goes on with the field's default") {
  const SmallRuns runs;
  REQUIRE(runs.train("whole").exit_code == 0);
  REQUIRE(runs.train("old", "", 1, "APOTNET_CRASH_AT=folder-flushed:9").exit_code == 137);
  TensorFile file = read_safetensors(runs.last("old"));
  auto config = nlohmann::ordered_json::parse(file.metadata.at("config"));
  CHECK(config["data"].erase("ghost_batch") == 1);
  CHECK(config["quant"].erase("rcf") == 1);
  CHECK(config["quant"].erase("weight_norm") == 1);
  file.metadata["config"] = config.dump(2) + "\n";
  add_checksums(file);
  write_safetensors(runs.last("old"), file);
  CHECK(runs.train("old", "--resume --set quant.rcf=false").exit_code == 78);
  REQUIRE(runs.train("old", "--resume").exit_code == 0);
  CHECK(runs.metrics("old") == runs.metrics("whole"));
}
