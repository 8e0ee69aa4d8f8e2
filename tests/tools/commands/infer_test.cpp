// infer as its users run it, on a network of a few training steps.
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <sstream>

#include "core/base/build_info.h"
#include "core/io/safetensors.h"
#include "data/shapes10.h"
#include "tests/support/run_program.h"
#include "tests/support/test_data.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

std::string image(const std::string& name) { return (golden_folder() / "images" / name).string(); }

/// Trains for some steps on generated data; the path of the checkpoint.
std::string trained(const TemporaryFolder& folder, int bits) {
  const std::string run = folder / ("run" + std::to_string(bits));
  const Finished finished =
      run_program(std::string(APOTNET_BINARY) + " train " + kSourceFolder + "/configs/quickstart.json --out " + run +
                  " --set data.train_count=200 --set data.test_count=40 --set data.validation=40 --set data.batch=32"
                  " --set stages.0.epochs=1 --quiet --threads 1 --set stages.0.bits=" +
                  std::to_string(bits));
  REQUIRE(finished.exit_code == 0);
  return run + "/checkpoints/last.safetensors";
}

Finished infer(const std::string& arguments) {
  return run_program(std::string(APOTNET_BINARY) + " infer " + arguments);
}

std::vector<nlohmann::json> lines(const std::string& text) {
  std::vector<nlohmann::json> objects;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) objects.push_back(nlohmann::json::parse(line));
  return objects;
}

/// `hwc` as a BMP file of 24 bits: rows from the bottom up, blue first; the width is a multiple of 4.
void write_bmp(const std::string& path, const std::vector<uint8_t>& hwc, int height, int width) {
  std::string file = "BM";
  const auto number = [&](size_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) file += static_cast<char>(value >> (8 * i));
  };
  number(54 + hwc.size(), 4), number(0, 4), number(54, 4), number(40, 4);
  number(static_cast<size_t>(width), 4), number(static_cast<size_t>(height), 4), number(1, 2), number(24, 2);
  file.append(24, 0);
  for (int y = height; y-- > 0;)
    for (int x = 0; x < width; ++x)
      for (int c = 3; c-- > 0;) file += static_cast<char>(hwc[static_cast<size_t>((y * width + x) * 3 + c)]);
  write_text(path, file);
}

}  // namespace

TEST_CASE("infer: the probabilities of a test split's images, as files, are those of eval's logits") {
  const TemporaryFolder folder;
  const std::string checkpoint = trained(folder, 4);
  const auto dataset = draw_shapes10(1, Split::test, 40);
  std::string files;
  std::vector<uint8_t> pixels(static_cast<size_t>(dataset->image_bytes()));
  for (int64_t i = 0; i < dataset->size(); ++i) {
    dataset->read(i, pixels);
    const std::string file = folder / ("image" + std::to_string(i) + ".bmp");
    write_bmp(file, pixels, 32, 32);
    files += " " + file;
  }
  REQUIRE(run_program(std::string(APOTNET_BINARY) + " eval --checkpoint " + checkpoint + " --logits " +
                      folder / "logits.safetensors")
              .exit_code == 0);
  const TensorFile evaluated = read_safetensors(folder / "logits.safetensors");
  const std::span<const float> logits = evaluated.find("logits")->data<float>();
  const Finished finished = infer("--json --top 10 --checkpoint " + checkpoint + files);
  REQUIRE(finished.exit_code == 0);
  CHECK(finished.error.empty());
  const auto found = lines(finished.out);
  REQUIRE(found.size() == 40);
  for (size_t i = 0; i < found.size(); ++i) {
    const auto& top = found[i]["top"];
    REQUIRE(top.size() == 10);
    CHECK(found[i]["engine"] == "integer");
    double sum = 0;
    for (size_t c = 0; c < 10; ++c) sum += std::exp(double{logits[10 * i + c]});
    for (size_t k = 0; k < top.size(); ++k) {
      const size_t c = top[k]["class"];
      CHECK(top[k]["name"] == dataset->class_names()[c]);
      CHECK(top[k]["probability"].get<double>() == doctest::Approx(std::exp(double{logits[10 * i + c]}) / sum));
      if (k > 0) CHECK(top[k]["probability"] <= top[k - 1]["probability"]);
    }
  }

  // What an image is does not depend on engine, threads or neighbours.
  std::string as_float = infer("--json --top 10 --engine float --threads 1 --checkpoint " + checkpoint + files).out;
  for (size_t at; (at = as_float.find("\"float\"")) != std::string::npos;) as_float.replace(at, 7, "\"integer\"");
  CHECK(as_float == finished.out);
  CHECK(finished.out.ends_with(infer("--json --top 10 --checkpoint " + checkpoint + " " + folder / "image39.bmp").out));
}

TEST_CASE("infer: files of other sizes and formats, whatever their names, in the order they were given") {
  const TemporaryFolder folder;
  const std::string checkpoint = trained(folder, 32);
  const std::string files = image("420.jpg") + " " + image("png_named.JPEG") + " " + image("cmyk.jpg");
  const Finished finished = infer("--json --top 2 --checkpoint " + checkpoint + " " + files);
  CHECK(finished.exit_code == 0);
  const auto found = lines(finished.out);
  REQUIRE(found.size() == 3);
  CHECK(found[0]["file"] == image("420.jpg"));
  CHECK(found[0]["width"] == 26);
  CHECK(found[0]["height"] == 58);
  CHECK(found[1]["width"] == 50);
  CHECK(found[2]["engine"] == "float");  // nothing in it is quantized
  CHECK(found[2]["top"].size() == 2);
  const Finished text = infer("--top 1 --checkpoint " + checkpoint + " " + image("png_named.JPEG"));
  CHECK(text.out.starts_with(image("png_named.JPEG") + " (50 x 40)\n"));
  CHECK(text.out.find(" %  " + found[1]["top"][0]["name"].get<std::string>() + "\n") != std::string::npos);
  CHECK(infer("--data cifar100 --checkpoint " + checkpoint + " " + files).exit_code == 78);  // has other classes
  CHECK(infer("--engine integer --checkpoint " + checkpoint + " " + files).exit_code == 69);
}

TEST_CASE("infer: a damaged or missing file has its line and exit code, and the others are classified") {
  const TemporaryFolder folder;
  const std::string checkpoint = trained(folder, 4);
  const std::string good = image("rgb.png"), none = folder / "none.png", cut = folder / "cut.jpg";
  write_text(cut, read_text(image("420.jpg")).substr(0, 900));
  const Finished damaged = infer("--json --checkpoint " + checkpoint + " " + cut + " " + good);
  CHECK(damaged.exit_code == 65);
  CHECK(damaged.one_line());
  CHECK(damaged.error.starts_with("apotnet: error: " + cut + ": damaged JPEG: "));
  CHECK(lines(damaged.out).size() == 1);
  CHECK(lines(damaged.out)[0]["file"] == good);

  const Finished missing = infer("--json --checkpoint " + checkpoint + " " + good + " " + none + " " + good);
  CHECK(missing.exit_code == 66);
  CHECK(missing.one_line());
  CHECK(lines(missing.out).size() == 2);
}

TEST_CASE("infer: a network whose codes have more than 8 bits computes in float and says so") {
  const TemporaryFolder folder;
  const std::string arguments = "--checkpoint " + trained(folder, 6) + " --json " + image("rgb.png");
  const Finished wide = infer(arguments);
  REQUIRE(wide.exit_code == 0);
  CHECK(wide.one_line());
  CHECK(wide.error.find("computes in float: the integer engine sums codes of 8 bits") != std::string::npos);
  CHECK(lines(wide.out)[0]["engine"] == "float");
  const Finished asked = infer(arguments + " --engine integer");
  CHECK(asked.exit_code == 69);
  CHECK(asked.one_line());
}

TEST_CASE("infer: of a folder the image files in it and below, sorted") {
  const TemporaryFolder folder;
  const std::string checkpoint = trained(folder, 4), pictures = folder / "pictures";
  std::filesystem::create_directories(pictures + "/b");
  std::filesystem::create_directories(pictures + "/empty");
  for (const char* name : {"c.PNG", "a.png", "b/z.Jpeg"})
    std::filesystem::copy_file(image(std::string(name) == "b/z.Jpeg" ? "420.jpg" : "rgb.png"), pictures + "/" + name);
  write_text(pictures + "/notes.txt", "not an image");
  const Finished finished = infer("--json --checkpoint " + checkpoint + " " + pictures + " " + image("cmyk.jpg"));
  CHECK(finished.exit_code == 0);
  CHECK(finished.error == "apotnet: " + pictures + ": skips 1 other file\n");
  const auto found = lines(finished.out);
  REQUIRE(found.size() == 4);
  CHECK(found[0]["file"] == pictures + "/a.png");
  CHECK(found[1]["file"] == pictures + "/b/z.Jpeg");
  CHECK(found[2]["file"] == pictures + "/c.PNG");
  CHECK(found[3]["file"] == image("cmyk.jpg"));
  const Finished empty = infer("--checkpoint " + checkpoint + " " + pictures + "/empty");
  CHECK(empty.exit_code == 66);
  CHECK(empty.one_line());
}
