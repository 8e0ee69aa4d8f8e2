// The program as its users run it: exit codes, one-line messages, JSON on stdout.
#include <doctest/doctest.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "core/base/build_info.h"
#include "core/io/safetensors.h"
#include "tests/support/run_program.h"
#include "tests/support/test_data.h"

using namespace apotnet;
using test::Finished;
using test::run_program;
using test::TemporaryFolder;

namespace {

Finished apotnet_program(const std::string& arguments) {
  return run_program(std::string(APOTNET_BINARY) + " " + arguments);
}

std::string config(const std::string& name) { return std::string(kSourceFolder) + "/configs/" + name; }

// A run of a few steps on generated data.
std::string tiny_training(const std::string& out, const std::string& more = "", int threads = 1) {
  return "train " + config("quickstart.json") + " --out " + out +
         " --set data.train_count=200 --set data.test_count=40 --set data.validation=40 --set data.batch=32"
         " --set model.name=resnet8 --set stages.0.epochs=1 --quiet --threads " +
         std::to_string(threads) + " " + more;
}

}  // namespace

TEST_CASE("every command has help with an example") {
  for (const char* command : {"train", "eval", "infer", "inspect", "convert", "levels", "report", "data", "config",
                              "bench", "test", "doctor", "version"}) {
    CAPTURE(command);
    const Finished help = apotnet_program(std::string(command) + " --help");
    CHECK(help.exit_code == 0);
    CHECK(help.out.find("Example: ./apotnet") != std::string::npos);
  }
}

TEST_CASE("wrong command lines exit with 64 and one line that says what to do") {
  struct Row {
    const char* arguments;
    const char* fragment;
  };
  for (const Row& row :
       {Row{"", "a command is missing, one of train, eval,"},
        Row{"--json", "a command is missing"},
        Row{"trane x", "no command \"trane\"; did you mean train?; see apotnet --help"},
        Row{"zzzzzz", "no command \"zzzzzz\"; there are train, eval,"},
        Row{"config chekc x", "no command \"chekc\"; did you mean check?; see apotnet config --help"},
        Row{"train x --epochs 3", "no option --epochs; did you mean --set stages.0.epochs=VALUE?; see apotnet train"},
        Row{"train x --thraeds=3", "no option --thraeds; did you mean --threads?"},
        Row{"train x --jsn", "no option --jsn; did you mean --json?"},
        Row{"train x ---", "no option ---; see apotnet train --help"},
        Row{"train x y", "nothing expects the argument \"y\""},
        Row{"train x --set", "--set: a value is missing behind it; see apotnet train --help"},
        Row{"eval --checkpoint x --bits", "--bits: a value is missing behind it"},
        Row{"train", "CONFIG is required"},
        Row{"eval", "--checkpoint is required"},
        Row{"eval --checkpoint x --bits 9", "--bits"},
        Row{"eval --checkpoint x --engine fast", "--engine"},
        Row{"bench infer --seconds 0 --kernel conv=slow", "known are"},
        Row{"bench infer --seconds 0 --kernel fast", "conv=NAME"},
        Row{"infer --checkpoint x", "IMAGE is required"},
        Row{"infer --checkpoint x y --top 0", "--top"},
        Row{"levels --bits three", "--bits"},
        Row{"levels --method log", "--method"},
        Row{"eval --checkpoint x --threads 0", "--threads"},
        Row{"convert a", "OUT is required"},
        Row{"convert a b.bin", ".safetensors"},
        Row{"config", "a command is missing, one of show, check"},
        Row{"levels --bogus", "--bogus"},
        Row{"bench infer --engine fast", "--engine"},
        Row{"bench infer --seconds nan", "--seconds: nan is no number from 0 to 3600"},
        Row{"eval --checkpoint x --limit -1", "--limit: -1 is no number from 1;"},
        Row{"eval --checkpoint x --min-top1 nan", "--min-top1: nan is no number from 0 to 100"},
        Row{"eval --checkpoint x --min-top1 0.5.1", "--min-top1: 0.5.1 is no number"},
        Row{"eval --checkpoint x --device cuda:x", "no such device; expected cpu, cuda or cuda:NUMBER"},
        Row{"bench kernels --shape 3x3", "--shape"},
        Row{"bench data --data nothing:x", "no data set nothing"}}) {
    CAPTURE(row.arguments);
    const Finished finished = apotnet_program(row.arguments);
    CHECK(finished.exit_code == 64);
    CHECK(finished.one_line());
    CHECK(finished.error.find(row.fragment) != std::string::npos);
  }
}

TEST_CASE("missing and damaged inputs have their exit codes") {
  const TemporaryFolder folder;
  test::write_text(folder / "noise.pth", "this is no checkpoint");
  test::write_text(folder / "bad.json", "{\"stages\": [{\"epochs\": 0, \"lr\": \"0,1\"}], \"sead\": 1}");
  struct Row {
    std::string arguments;
    int exit_code;
    const char* fragment;
  };
  for (const Row& row :
       {Row{"eval --bits 3 --checkpoint " + folder / "nothing.pth", 66, "nothing.pth"},
        Row{"eval --bits 3 --checkpoint " + folder / "noise.pth", 65, "neither a safetensors file nor"},
        Row{"eval --checkpoint " + std::string(kSourceFolder) + "/tests/golden/images/rgb.png", 65,
            "give a .safetensors, .pth or .pth.tar file"},
        Row{"train " + config("quickstart.json") + " --resume " + folder.string(), 66,
            "holds no checkpoint; expected a run folder, with checkpoints/last.safetensors in it"},
        Row{"infer --bits 3 --checkpoint " + folder / "nothing.pth" + " x.png", 66, "nothing.pth"},
        Row{"inspect " + folder.string(), 65, "is a folder"},
        Row{"train " + folder / "nothing.json", 66,
            "nothing.json: cannot open: No such file or directory; check its name and folder"},
        Row{"convert " + folder / "noise.pth " + folder / "out.safetensors", 65, "noise.pth"},
        Row{"train " + config("resnet20_cifar_4bit.json") + " --data cifar10:" + folder.string() + " --out " +
                folder / "r",
            66, "apotnet data fetch cifar10"},
        Row{"eval --device cuda --checkpoint x", 69, "--device cpu"},
        Row{"train x.json --device cuda:7", 69, "--device cpu"},
        Row{"infer --device cuda:1 --checkpoint x y.png", 69, "computes on the CPU only"},
        Row{"eval --checkpoint ''", 66, "the name of a file to read is empty"},
        Row{tiny_training("/proc/nowhere"), 74, "/proc/nowhere"}}) {
    CAPTURE(row.arguments);
    const Finished finished = apotnet_program(row.arguments);
    CHECK(finished.exit_code == row.exit_code);
    CHECK(finished.one_line());
    CHECK(finished.error.find(row.fragment) != std::string::npos);
  }
  const Finished checked = apotnet_program("config check " + folder / "bad.json");
  CHECK(checked.exit_code == 78);
  for (const char* fragment : {"stages.0.epochs", "stages.0.lr", "did you mean seed"})
    CHECK(checked.error.find(fragment) != std::string::npos);
}

TEST_CASE("output that does not fit is an error") {
  const Finished full = run_program("sh -c '" APOTNET_BINARY " levels --bits 3 > /dev/full'");
  CHECK(full.exit_code == 74);
  CHECK(full.one_line());
  CHECK(full.error.find("stdout: cannot write") != std::string::npos);
}

TEST_CASE("training writes a run folder, and its checkpoint evaluates to the printed accuracy") {
  const TemporaryFolder folder;
  const Finished trained = apotnet_program(tiny_training(folder / "run", "--json"));
  REQUIRE(trained.exit_code == 0);
  const auto result = nlohmann::json::parse(trained.out);
  CHECK(result["epochs"] == 1);
  CHECK(result["steps"] == 5);
  for (const char* name :
       {"config.json", "metrics.csv", "checkpoints/last.safetensors", "checkpoints/best.safetensors"})
    CHECK(std::filesystem::exists(folder / "run" + "/" + name));
  CHECK(test::read_text(folder / "run/metrics.csv").starts_with("stage,epoch,step,"));

  // The checkpoint knows how its 40 test images were drawn.
  const std::string eval = "eval --checkpoint " + folder / "run/checkpoints/best.safetensors" + " --json --logits " +
                           folder / "logits.safetensors";
  const Finished evaluated = apotnet_program(eval + " --threads 1");
  REQUIRE(evaluated.exit_code == 0);
  const auto line = nlohmann::json::parse(evaluated.out);
  for (const char* key :
       {"command", "checkpoint", "model", "dataset", "split", "count", "weight_bits", "activation_bits", "engine",
        "device", "threads", "top1", "top5", "loss", "seconds", "images_per_second"})
    CHECK_MESSAGE(line.contains(key), key);
  CHECK(line["count"] == 40);
  CHECK(line["top1"] == result["test_top1"]);
  CHECK(line["loss"] == result["test_loss"]);
  CHECK(line["weight_bits"] == 4);
  const TensorFile logits = read_safetensors(folder / "logits.safetensors");
  CHECK(logits.find("logits")->shape() == Shape{40, 10});
  CHECK(logits.find("labels")->dtype() == DType::i64);

  const std::string one_thread = test::read_text(folder / "logits.safetensors");
  REQUIRE(apotnet_program(eval + " --threads 2").exit_code == 0);
  CHECK(test::read_text(folder / "logits.safetensors") == one_thread);
  CHECK(apotnet_program(eval + " --min-top1 99.9").exit_code == 1);
  // What was found is told even where the logits find no place.
  const Finished lost = apotnet_program(eval + "/none");
  CHECK(lost.exit_code == 74);
  CHECK(lost.one_line());
  CHECK(nlohmann::json::parse(lost.out, nullptr, false)["top1"] == line["top1"]);
  CHECK(apotnet_program(tiny_training(folder / "run")).exit_code == 64);  // never overwritten
}

TEST_CASE("two runs with the same seed write identical checkpoints, whatever the threads and workers") {
  const TemporaryFolder folder;
  REQUIRE(apotnet_program(tiny_training(folder / "a")).exit_code == 0);
  REQUIRE(apotnet_program(tiny_training(folder / "b")).exit_code == 0);
  REQUIRE(apotnet_program(tiny_training(folder / "c", "--set data.workers=3", 2)).exit_code == 0);
  REQUIRE(apotnet_program(tiny_training(folder / "d", "--set seed=2")).exit_code == 0);
  const auto last = [&](const char* run) { return test::read_text(folder / run + "/checkpoints/last.safetensors"); };
  CHECK(last("a") == last("b"));
  // The configuration that c stores differs in its workers; the tensors do not.
  const TensorFile a = read_safetensors(folder / "a/checkpoints/last.safetensors");
  const TensorFile c = read_safetensors(folder / "c/checkpoints/last.safetensors");
  CHECK(a.metadata.at("crc32c") == c.metadata.at("crc32c"));
  CHECK(last("a") != last("d"));
}

TEST_CASE("a checkpoint of ours starts another run and converts to itself") {
  const TemporaryFolder folder;
  const std::string network = " --set model.name=resnet20";
  REQUIRE(apotnet_program(tiny_training(folder / "a", network)).exit_code == 0);
  const std::string last = folder / "a/checkpoints/last.safetensors";
  CHECK(apotnet_program(tiny_training(folder / "b", "--init " + last + network + " --set stages.0.bits=3")).exit_code ==
        0);
  CHECK(apotnet_program("convert " + last + " " + folder / "copy.safetensors").exit_code == 0);
  CHECK(test::read_text(folder / "copy.safetensors") == test::read_text(last));
  CHECK(apotnet_program("convert " + last + " " + last).exit_code == 64);
  const Finished inspected = apotnet_program("inspect --json " + last);
  CHECK(inspected.exit_code == 0);
  const auto found = nlohmann::json::parse(inspected.out);
  CHECK(found["layers"].size() == 20);
  CHECK(found["cost"].size() == 22);
  CHECK(found["macs"] == 40813184);
  CHECK(found["bytes"].get<double>() * 5 < found["float_bytes"].get<double>());
}

TEST_CASE("training that diverges exits with 76, and says where") {
  const TemporaryFolder folder;
  const Finished finished =
      apotnet_program(tiny_training(folder / "run",
                                    "--set stages.0.epochs=40 --set stages.0.lr=10 --set optimizer.momentum=0.99 "
                                    "--set stages.0.weight_decay=1 --set optimizer.activation_alpha_lr=10"));
  CHECK(finished.exit_code == 76);
  CHECK(finished.one_line());
  CHECK(finished.error.find("training diverged in 4bit epoch") != std::string::npos);
  CHECK(nlohmann::json::parse(test::read_text(folder / "run/status.json"))["exit_code"] == 76);
  CHECK(apotnet_program("inspect --json " + folder / "run/checkpoints/last.safetensors").exit_code == 0);
}

TEST_CASE("a run that cannot start leaves no folder, and weights of another network are refused") {
  const TemporaryFolder folder;
  CHECK(apotnet_program(tiny_training(folder / "a", "--init " + folder / "nothing")).exit_code == 66);
  CHECK(apotnet_program(tiny_training(folder / "a", "--set data.validation=500")).exit_code == 78);
  CHECK(!std::filesystem::exists(folder / "a"));
  REQUIRE(apotnet_program(tiny_training(folder / "deep", "--set model.name=resnet32")).exit_code == 0);
  const Finished refused =
      apotnet_program(tiny_training(folder / "a", "--init " + folder / "deep/checkpoints/last.safetensors"));
  CHECK(refused.exit_code == 65);
  CHECK(refused.error.find("of another network") != std::string::npos);
}

TEST_CASE("a checkpoint whose thresholds no training leaves behind is damaged, and bfloat16 files are read") {
  const TemporaryFolder folder;
  REQUIRE(apotnet_program(tiny_training(folder / "a")).exit_code == 0);
  const TensorFile good = read_safetensors(folder / "a/checkpoints/last.safetensors");
  TensorFile bad = good;
  bad.metadata.erase("crc32c");
  for (NamedTensor& entry : bad.tensors)
    if (entry.name == "layer1.0.conv1.act_alpha") entry.tensor = Tensor::full(entry.tensor.shape(), DType::f32, -1);
  write_safetensors(folder / "bad.safetensors", bad);
  const Finished refused = apotnet_program("eval --checkpoint " + folder / "bad.safetensors");
  CHECK(refused.exit_code == 65);
  CHECK(refused.error.find("layer1.0.conv1.act_alpha is -1") != std::string::npos);

  TensorFile half = good;
  half.metadata.erase("crc32c");
  for (NamedTensor& entry : half.tensors)
    if (entry.name == "fc.weight") {  // the upper halves of the floats
      Tensor short_floats(entry.tensor.shape(), DType::bf16);
      for (int64_t i = 0; i < entry.tensor.elements(); ++i)
        std::memcpy(short_floats.raw() + 2 * i, entry.tensor.raw() + 4 * i + 2, 2);
      entry.tensor = short_floats;
    }
  write_safetensors(folder / "half.safetensors", half);
  CHECK(apotnet_program("eval --checkpoint " + folder / "half.safetensors").exit_code == 0);
}

TEST_CASE("an interrupt finishes the step, saves and exits with 130") {
  const TemporaryFolder folder;
  // status.json is there when the first step begins, and that one is made whenever the signal comes.
  const Finished finished = run_program(
      "(n=0; while kill -0 $$ && ! test -e " + folder / "run/status.json" +
      "; do sleep 0.02; n=$((n + 1)); test $n -lt 6000 || kill -KILL $$; done; kill -INT $$) 2>/dev/null & exec " +
      std::string(APOTNET_BINARY) + " " +
      tiny_training(folder / "run", "--set data.train_count=1000 --set data.batch=8 --set stages.0.epochs=10000"));
  CHECK(finished.exit_code == 130);
  const TensorFile saved = read_safetensors(folder / "run/checkpoints/last.safetensors");
  CHECK(std::stoll(saved.metadata.at("step")) > 0);  // the one from before the first step has 0
}

TEST_CASE("the plain loops and the side-by-side check can be chosen, and agree") {
  const TemporaryFolder folder;
  REQUIRE(apotnet_program(
              tiny_training(
                  folder / "a",
                  "--kernels checked --set data.train_count=50 --set data.validation=10 --set data.test_count=10"))
              .exit_code == 0);
  const std::string eval =
      "eval --checkpoint " + folder / "a/checkpoints/last.safetensors --data shapes10 --limit 8 --json";
  const auto fast = nlohmann::json::parse(apotnet_program(eval).out);
  const auto plain = nlohmann::json::parse(apotnet_program(eval + " --kernels reference").out);
  CHECK(fast["loss"].get<double>() == doctest::Approx(plain["loss"].get<double>()).epsilon(1e-4));
}

TEST_CASE("the integer engine writes evaluation's logits, byte for byte, for networks trained here") {
  for (const std::string quant : {"bits 2", "bits 3", "bits 4", "bits 5", "method uniform 8"}) {
    const TemporaryFolder folder;
    const std::string bits = quant.substr(quant.size() - 1), method = quant.starts_with("method") ? "uniform" : "apot";
    REQUIRE(apotnet_program(tiny_training(folder / "run", "--set quant.method=" + method +
                                                              " --set stages.0.weight_bits=" + bits +
                                                              " --set stages.0.activation_bits=" + bits))
                .exit_code == 0);
    const std::string eval = "eval --checkpoint " + folder / "run/checkpoints/last.safetensors" + " --json --logits ";
    REQUIRE(apotnet_program(eval + folder / "float").exit_code == 0);
    const std::string wanted = test::read_text(folder / "float");
    for (const std::string options : {" --threads 1", " --threads 2", " --kernel conv=plain"}) {
      const Finished evaluated = apotnet_program(eval + folder / "integer" + " --engine integer" + options);
      REQUIRE(evaluated.exit_code == 0);
      CHECK(nlohmann::json::parse(evaluated.out)["engine"] == "integer");
      CHECK_MESSAGE(test::read_text(folder / "integer") == wanted, quant, options);
    }
  }
}

TEST_CASE("level sets are printed as text and JSON") {
  const Finished text = apotnet_program("levels --bits 3");
  CHECK(text.out.find("2^-1 + 2^-3") != std::string::npos);
  const auto json = nlohmann::json::parse(apotnet_program("levels --bits 3 --json").out);
  CHECK(json["k"] == 10);
  CHECK(json["levels"][5]["code"] == 6);
  CHECK(apotnet_program("levels --bits 8 --method pot").exit_code == 78);
}

TEST_CASE("bench prints what comparisons read") {
  for (const char* what : {"train", "infer", "infer --engine float", "data"}) {
    const Finished finished =
        apotnet_program(std::string("bench ") + what + " --batch 4 --seconds 0 --threads 1 --json");
    CHECK(finished.exit_code == 0);
    const auto line = nlohmann::json::parse(finished.out);
    for (const char* key : {"name", "model", "weight_bits", "activation_bits", "batch", "threads", "device",
                            "images_per_second", "min", "max", "repeats"})
      CHECK_MESSAGE(line.contains(key), what, ": ", key);
    CHECK(line["repeats"].get<int>() >= 5);
    CHECK(line["min"].get<double>() <= line["images_per_second"].get<double>());
    CHECK(line["images_per_second"].get<double>() <= line["max"].get<double>());
    for (const char* key : {"fma_gmacs", "maddubs_gmacs", "vnni_gmacs"})
      CHECK_MESSAGE(line.contains(key) == (line["name"] != "apotnet data"), what, ": ", key);
  }
  const auto data = nlohmann::json::parse(apotnet_program("bench data --seconds 0 --threads 2 --json").out);
  CHECK(data["dataset"] == "shapes10");
  CHECK(data["images_per_second_per_thread"].get<double>() == data["images_per_second"].get<double>() / 2);
}

TEST_CASE("what a checkpoint says of itself is not contradicted") {
  const TemporaryFolder folder;
  REQUIRE(apotnet_program(tiny_training(folder / "run")).exit_code == 0);
  const std::string checkpoint = " --checkpoint " + folder / "run/checkpoints/last.safetensors";
  const auto refused = [](const std::string& arguments, const char* fragment) {
    CAPTURE(arguments);
    const Finished finished = apotnet_program(arguments);
    CHECK(finished.exit_code == 64);
    CHECK(finished.one_line());
    CHECK(finished.error.find(fragment) != std::string::npos);
  };
  CHECK(apotnet_program("eval --bits 4" + checkpoint).exit_code == 0);
  refused("eval --bits 3" + checkpoint, "says 4-bit weights and 4-bit activations; leave --bits out");
  refused("bench infer --bits 32" + checkpoint, "leave --bits out");
  refused("bench infer --model resnet32" + checkpoint, "holds a resnet8; leave --model out");
  refused("bench infer --model resnet18 --data shapes10", "has images of 32 x 32, the network takes 224 x 224");
  const Finished grey = apotnet_program("bench infer --model resnet10_mnist --data shapes10");
  CHECK(grey.exit_code == 78);
  CHECK(grey.error.find("the images of shapes10 have 3 channels, the model takes 1") != std::string::npos);
}

TEST_CASE("bench takes the weights of a checkpoint, and says whose they are") {
  const TemporaryFolder folder;
  REQUIRE(
      apotnet_program(tiny_training(folder / "run", "--set stages.0.weight_bits=3 --set stages.0.activation_bits=2"))
          .exit_code == 0);
  const Finished finished = apotnet_program("bench infer --seconds 0 --batch 4 --json --data shapes10 --checkpoint " +
                                            folder / "run/checkpoints/last.safetensors");
  REQUIRE(finished.exit_code == 0);
  const auto line = nlohmann::json::parse(finished.out);
  CHECK(line["weight_bits"] == 3);
  CHECK(line["activation_bits"] == 2);
  CHECK(apotnet_program("bench infer --seconds 0 --data nosuch:x").exit_code == 64);
  // What a network was trained on counts, not what networks of its name are made for.
  REQUIRE(apotnet_program(tiny_training(folder / "small",
                                        "--set model.name=resnet18 --set data.train_count=26 "
                                        "--set data.test_count=10 --set data.validation=10"))
              .exit_code == 0);
  CHECK(apotnet_program("bench infer --seconds 0 --batch 4 --data shapes10 --checkpoint " +
                        folder / "small/checkpoints/last.safetensors")
            .exit_code == 0);
}

TEST_CASE("bench kernels prints a line for every kernel, and no peak where the instructions are missing") {
  const std::string command = " bench kernels --shape 64x8x8 --batch 2 --seconds 0";
  const Finished finished = run_program(std::string(APOTNET_BINARY) + command + " --json");
  CHECK(finished.exit_code == 0);
  std::set<std::pair<std::string, int>> seen;
  std::istringstream lines(finished.out);
  for (std::string text; std::getline(lines, text);) {
    const auto line = nlohmann::json::parse(text);
    for (const char* key : {"name", "model", "shape", "weight_bits", "activation_bits", "batch", "threads", "device",
                            "images_per_second", "min", "max", "repeats", "gmacs", "of_peak", "fma_gmacs"})
      CHECK_MESSAGE(line.contains(key), key);
    CHECK(line["shape"] == "64x8x8");
    CHECK(line["min"].get<double>() <= line["images_per_second"].get<double>());
    CHECK(line["images_per_second"].get<double>() * 8 * 8 * 64 * 9 * 64 ==
          doctest::Approx(line["gmacs"].get<double>() * 1e9));
    seen.emplace(line["name"], line["weight_bits"]);
  }
  for (const auto& row : {std::pair{"onednn u8s8", 4},
                          {"apotnet in training", 2},
                          {"onednn f32", 32},
                          {"apotnet f32", 32},
                          {"onednn f32 backward input", 32},
                          {"apotnet f32 backward weight", 32}})
    CHECK_MESSAGE(seen.contains({row.first, row.second}), row.first);

  const Finished generic = run_program("APOTNET_ISA=generic " + std::string(APOTNET_BINARY) + command + " --json");
  const auto line = nlohmann::json::parse(generic.out.substr(0, generic.out.find('\n')));
  for (const char* key : {"of_peak", "fma_gmacs", "maddubs_gmacs", "vnni_gmacs"})
    CHECK_MESSAGE(line[key].is_null(), key);
  CHECK(run_program(std::string(APOTNET_BINARY) + command).out.find("onednn u8s8") != std::string::npos);
}

TEST_CASE("version and doctor say what they are asked as JSON too") {
  CHECK(nlohmann::json::parse(apotnet_program("version --json").out)["apotnet"] == kVersion);
  CHECK(nlohmann::json::parse(apotnet_program("doctor --json").out).contains("integer_convolution"));
}

TEST_CASE("an unknown APOTNET_ISA is an error of its own, a known one is what doctor shows") {
  const std::string program = APOTNET_BINARY;
  const Finished wrong = run_program("APOTNET_ISA=avx " + program + " version");
  CHECK(wrong.exit_code == 64);
  CHECK(wrong.error.find("APOTNET_ISA=avx: generic, avx2, avx512 or vnni") != std::string::npos);
  const Finished held = run_program("APOTNET_ISA=generic " + program + " doctor --json");
  CHECK(nlohmann::json::parse(held.out)["instructions"].get<std::string>().starts_with("generic"));
}

TEST_CASE("the authors' checkpoint scores 92.44 to 92.54 % on the CIFAR-10 test set") {
  const auto checkpoint = test::reference_file("resnet20_3bit.pth.tar");
  const auto data = test::data_path("cifar-10-batches-bin");
  SKIP_WITHOUT(checkpoint);
  SKIP_WITHOUT(data);
  const std::string command =
      "eval --checkpoint " + checkpoint.string() + " --data cifar10:" + data.string() + " --json";
  const TemporaryFolder folder;
  const auto result = nlohmann::json::parse(apotnet_program(command + " --bits 3 --logits " + folder / "float").out);
  CHECK(result["count"] == 10000);
  CHECK(result["top1"].get<double>() >= 92.44);
  CHECK(result["top1"].get<double>() <= 92.54);

  // The integer engine: the same logits, all bits, with 1 and 2 threads.
  for (const std::string threads : {"1", "2"}) {
    REQUIRE(
        apotnet_program(command + " --bits 3 --engine integer --threads " + threads + " --logits " + folder / "integer")
            .exit_code == 0);
    CHECK(test::read_text(folder / "integer") == test::read_text(folder / "float"));
  }

  for (const std::string& without_bits : {command, "bench infer --seconds 0 --checkpoint " + checkpoint.string()}) {
    const Finished refused = apotnet_program(without_bits);
    CHECK(refused.exit_code == 64);
    CHECK(refused.error.find("--bits") != std::string::npos);
  }
}

TEST_CASE("levels --plot: every column of both drawings has its mark, whatever the set") {
  for (const std::string method : {"apot", "pot", "uniform"})
    for (const int bits : {2, 3, 4, 5})
      for (const char* kind : {"", " --weights"}) {
        CAPTURE(method);
        CAPTURE(bits);
        const std::string out =
            apotnet_program("levels --plot --method " + method + " --bits " + std::to_string(bits) + kind).out;
        const size_t staircase = out.find("\nq, the level"), derivative = out.find("\ndvalue/dalpha");
        REQUIRE(staircase != std::string::npos);
        REQUIRE(derivative != std::string::npos);
        CHECK(std::ranges::count(out.substr(staircase, derivative - staircase), '#') == 61);
        CHECK(std::ranges::count(out.substr(derivative), '#') == 49);  // z up to 1
      }
}
