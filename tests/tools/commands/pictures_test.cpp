// Data sets of picture files and of idx files, from training to infer, as their users run them.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/io/safetensors.h"
#include "tests/data/picture_files.h"
#include "tests/support/run_program.h"
#include "tests/support/test_data.h"

using namespace apotnet;
using namespace apotnet::test;
namespace fs = std::filesystem;

namespace {

constexpr const char* kPictureRun = R"({
  "model": {"name": "resnet20", "zero_init_residual": true},
  "data": {"name": "imagenet", "batch": 8, "accumulate": 2, "augment": ["random_crop", "flip"], "validation": 0,
           "image_size": 32, "resized_side": 36},
  "quant": {"variant": "imagenet"},
  "stages": [{"name": "4bit", "bits": 4, "epochs": 2, "lr": 0.02}], "seed": 5})";

Finished program(const std::string& arguments) { return run_program(std::string(APOTNET_BINARY) + " " + arguments); }

std::string last(const TemporaryFolder& folder, const std::string& run) {
  return folder / run + "/checkpoints/last.safetensors";
}

// Trains small.json in `folder` on the pictures there.
Finished train(const TemporaryFolder& folder, const std::string& run, const std::string& more = "") {
  return program("train " + folder / "small.json" + " --out " + folder / run + " --data imagenet:" + folder.string() +
                 " --threads 1 " + more);
}

void cut_off(const fs::path& file) { fs::resize_file(file, fs::file_size(file) / 2); }

}  // namespace

TEST_CASE("a folder of pictures: train, resume, index, eval, infer with its class names") {
  const TemporaryFolder folder;
  write_picture_folders(folder.path(), 3, 5);
  write_text(folder / "train/class0/notes.txt", "no picture");
  write_text(folder / "small.json", kPictureRun);
  const Finished trained = train(folder, "one");
  REQUIRE(trained.exit_code == 0);
  CHECK(trained.error.find("left out 1 files that are no pictures, the first is class0/notes.txt") !=
        std::string::npos);

  // Neither workers nor a stop and a resume nor the cache change a bit.
  REQUIRE(train(folder, "two", "--quiet --set data.workers=3").exit_code == 0);
  CHECK(read_text(last(folder, "two")).size() == read_text(last(folder, "one")).size());
  const auto weights = [&](const std::string& run) {
    std::vector<std::string> all;
    for (const NamedTensor& entry : read_safetensors(last(folder, run)).tensors)
      all.emplace_back(reinterpret_cast<const char*>(entry.tensor.raw()), entry.tensor.bytes());
    return all;
  };
  const auto wanted = weights("one");
  CHECK(weights("two") == wanted);
  const Finished checked = program("data check imagenet:" + folder.string());
  CHECK(checked.exit_code == 0);
  CHECK(checked.out.find("readable from end to end\n  train: 15 of 15 images, 5 to 5 of each class\n    ") !=
        std::string::npos);
  const Finished indexed =
      program("data index imagenet:" + folder.string() + " --resized-side 36 --json --quiet --threads 2");
  REQUIRE(indexed.exit_code == 0);
  CHECK(fs::exists(folder.path() / "train.pictures"));
  CHECK(fs::exists(folder.path() / "val.pictures"));
  fs::rename(folder.path() / "train", folder.path() / "away");
  REQUIRE(train(folder, "three", "--quiet").exit_code == 0);
  CHECK(weights("three") == wanted);
  const Finished checked_index = program("data check imagenet:" + folder.string());  // of another size than the default
  CHECK(checked_index.exit_code == 0);
  CHECK(checked_index.out.find("train: 15 of 15 images") != std::string::npos);

  for (const char* engine : {"float", "integer"})
    REQUIRE(program("eval --checkpoint " + last(folder, "one") + " --engine " + engine + " --logits " + folder / engine)
                .exit_code == 0);
  CHECK(read_text(folder / "float") == read_text(folder / "integer"));
  const TensorFile evaluated = read_safetensors(folder / "float");
  CHECK(evaluated.find("logits")->shape() == Shape{15, 3});

  const Finished inferred = program("infer --json --checkpoint " + last(folder, "one") + " --html " +
                                    folder / "sheet.html " + folder / "val/class1/picture0.JPEG");
  REQUIRE(inferred.exit_code == 0);
  const auto found = nlohmann::json::parse(inferred.out);
  const auto logits = evaluated.find("logits")->data<float>().subspan(5 * 3, 3);
  double sum = 0;
  for (const float logit : logits) sum += std::exp(double{logit});
  for (const auto& guess : found["top"]) {
    const size_t c = guess["class"];
    CHECK(guess["name"] == "class" + std::to_string(c));
    CHECK(guess["probability"].get<double>() == doctest::Approx(std::exp(double{logits[c]}) / sum).epsilon(1e-6));
  }
  const std::string sheet = read_text(folder / "sheet.html");
  CHECK(sheet.find("1 picture<") != std::string::npos);
  CHECK(sheet.find("picture0.JPEG") != std::string::npos);
  CHECK(sheet.find("<script") == std::string::npos);

  // bench takes the network as it is: its classes, and pictures of its size.
  const std::string checkpoint = " --checkpoint " + last(folder, "one"), bench = " --seconds 0 --batch 4 --threads 1";
  for (const std::string& command :
       {"bench train" + bench, "bench train" + bench + " --data imagenet:" + folder.string()}) {
    const Finished timed = program(command + checkpoint);
    CHECK_MESSAGE(timed.exit_code == 0, timed.error);
  }
  const Finished classes = program("bench infer --data shapes10" + bench + checkpoint);
  CHECK(classes.exit_code == 64);
  CHECK(classes.one_line());
  CHECK(classes.error.find("--data shapes10: has 10 classes, the network 3") != std::string::npos);

  // Pictures of other classes, though as many.
  fs::rename(folder.path() / "val/class1", folder.path() / "val/other");
  fs::remove(folder.path() / "val.pictures");
  for (const std::string& command : {"eval --checkpoint " + last(folder, "one"),
                                     "report " + folder / "one" + " --data imagenet:" + folder.string()}) {
    const Finished refused = program(command);
    CHECK(refused.exit_code == 78);
    CHECK(refused.one_line());
    CHECK_MESSAGE(
        refused.error.find("class 1 of imagenet is \"class2\", that of the checkpoint \"class1\"") != std::string::npos,
        refused.error);
  }
}

TEST_CASE("a folder of pictures: what is wrong with it is one line with the right exit code") {
  const TemporaryFolder folder;
  write_picture_folders(folder.path(), 2, 3);
  write_text(folder / "small.json", kPictureRun);
  cut_off(folder.path() / "train/class1/picture1.JPEG");
  const Finished stopped = train(folder, "a", "--quiet");
  CHECK(stopped.exit_code == 65);
  CHECK(stopped.one_line());
  CHECK(stopped.error.find("class1/picture1.JPEG") != std::string::npos);
  CHECK(stopped.error.find("have it replaced: data.damaged=replace") != std::string::npos);
  const Finished replaced = train(folder, "b", "--set data.damaged=replace");
  CHECK(replaced.exit_code == 0);
  CHECK(replaced.error.find("1 picture is damaged and replaced") != std::string::npos);

  const Finished odd = train(folder, "c", "--quiet --set data.accumulate=3");
  CHECK(odd.exit_code == 78);
  CHECK(odd.error.find("cannot be cut into 3 equal parts") != std::string::npos);
  const Finished both = train(folder, "c", R"(--quiet --set 'data.augment=["random_crop","random_resized_crop"]')");
  CHECK(both.exit_code == 78);
  const Finished fixed_size =
      program("train " + folder / "small.json" + " --data shapes10 --quiet --out " + folder / "c");
  CHECK(fixed_size.exit_code == 78);
  CHECK(fixed_size.error.find("use pad_crop") != std::string::npos);
  write_picture(folder.path() / "val/class2/x.jpg", 40, 40, 3);
  const Finished classes = train(folder, "c", "--quiet");
  CHECK(classes.exit_code == 78);
  CHECK(classes.error.find("check the class folders") != std::string::npos);
  const Finished no_index = program("data index cifar10:" + folder.string());
  CHECK(no_index.exit_code == 64);
  const Finished nowhere = program("data index imagenet:" + folder / "no");
  CHECK(nowhere.exit_code == 66);
}

TEST_CASE("data index: both splits or the one that is there") {
  for (const std::string missing : {"train", "val"}) {
    const TemporaryFolder folder;
    write_picture_folders(folder.path(), 2, 2);
    fs::rename(folder.path() / missing, folder.path() / "away");
    const Finished indexed = program("data index imagenet:" + folder.string());
    CHECK(indexed.exit_code == 0);
    CHECK(indexed.error.find("imagenet: no " + missing + " in ") != std::string::npos);
    for (const std::string split : {"train", "val"})
      CHECK(fs::exists(folder.path() / (split + ".pictures")) == (split != missing));
  }
  const TemporaryFolder nothing;
  const Finished refused = program("data index imagenet:" + nothing.string());
  CHECK(refused.exit_code == 66);
  CHECK(refused.one_line());
}

TEST_CASE("data check names every damaged picture") {
  const TemporaryFolder folder;
  write_picture_folders(folder.path());
  for (const char* picture : {"train/class0/picture1.JPEG", "train/class2/picture0.JPEG"})
    cut_off(folder.path() / picture);
  const Finished checked = program("data check imagenet:" + folder.string());
  CHECK(checked.exit_code == 65);
  CHECK(std::ranges::count(checked.error, '\n') == 2);
  for (const char* picture : {"class0/picture1.JPEG: ", "class2/picture0.JPEG: "})
    CHECK_MESSAGE(checked.error.find(picture) != std::string::npos, checked.error);
}

TEST_CASE("mnist: trained on its files, evaluated on those of the test split") {
  const TemporaryFolder folder;
  const auto idx = [&](const std::string& name, const std::string& head, const std::string& content) {
    write_text(folder / name, std::string("\0\0\x08", 3) + head + content);
  };
  // Digit d is a bar in column 2 d.
  const auto write_split = [&](const std::string& stem, int count) {
    std::string images, labels;
    for (int i = 0; i < count; ++i) {
      labels += static_cast<char>(i % 10);
      for (int p = 0; p < 784; ++p) images += static_cast<char>(p % 28 / 2 == i % 10 ? 200 + i % 50 : p % 7);
    }
    const std::string number{0, 0, 0, static_cast<char>(count)}, side{0, 0, 0, 28};
    idx(stem + "-images-idx3-ubyte", "\x03" + number + side + side, images);
    idx(stem + "-labels-idx1-ubyte", "\x01" + number, labels);
  };
  write_split("train", 100);
  write_split("t10k", 30);
  const Finished trained =
      program("train " + std::string(kSourceFolder) + "/configs/resnet10_mnist.json --threads 1 --quiet --data mnist:" +
              folder.string() + " --out " + folder / "run" +
              " --set stages.0.lr=0.02 --set stages.1.lr=0.01 --set data.validation=10 --set data.batch=10"
              " --set stages.0.epochs=2 --set stages.1.epochs=2");
  REQUIRE(trained.exit_code == 0);
  const std::string checkpoint = folder / "run/checkpoints/last.safetensors";
  for (const char* engine : {"float", "integer"}) {
    const Finished evaluated = program("eval --json --checkpoint " + checkpoint + " --data mnist:" + folder.string() +
                                       " --engine " + engine + " --logits " + folder / engine);
    REQUIRE(evaluated.exit_code == 0);
    const auto result = nlohmann::json::parse(evaluated.out);
    CHECK(result["split"] == "test");
    CHECK(result["count"] == 30);
    CHECK(result["top1"] > 50);
  }
  CHECK(read_text(folder / "float") == read_text(folder / "integer"));

  const Finished grey = program("train " + std::string(kSourceFolder) +
                                "/configs/resnet20_cifar_4bit.json --data mnist:" + folder.string() + " --out " +
                                folder / "grey" + " --set data.validation=10 --set data.batch=10");
  CHECK(grey.exit_code == 78);
  CHECK(grey.error.find("the images of mnist have 1 channels, resnet20 takes 3") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists(folder / "grey"));
  const Finished colours = program("eval --data shapes10 --checkpoint " + checkpoint);
  CHECK(colours.exit_code == 78);
  CHECK(colours.error.find("the images of shapes10 have 3 channels, the model takes 1") != std::string::npos);
}

TEST_CASE("data.accumulate: the parts' gradients add up to that of ghost batches of their size") {
  const TemporaryFolder folder;
  write_text(folder / "run.json", R"({
    "data": {"name": "shapes10", "batch": 8, "augment": [], "validation": 0, "train_count": 20, "test_count": 10},
    "stages": [{"name": "float", "bits": 32, "epochs": 1, "lr": 0.05}], "seed": 3})");
  for (const char* setting : {"ghost_batch=4", "accumulate=2"})
    REQUIRE(program("train " + folder / "run.json" + " --quiet --threads 1 --set data." + setting + " --out " +
                    folder / setting)
                .exit_code == 0);
  const TensorFile ghost = read_safetensors(last(folder, "ghost_batch=4")),
                   parts = read_safetensors(last(folder, "accumulate=2"));
  int compared = 0;
  for (const NamedTensor& entry : ghost.tensors) {
    if (!entry.name.ends_with("conv2.weight") && entry.name != "fc.bias") continue;
    const auto a = entry.tensor.data<float>(), b = parts.find(entry.name)->data<float>();
    double difference = 0, size = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      difference += std::pow(double{a[i]} - b[i], 2);
      size += std::pow(double{a[i]}, 2);
    }
    CHECK(std::sqrt(difference / size) < 1e-4);
    ++compared;
  }
  CHECK(compared == 10);
}
