// data fetch and data check as their users run them. The real archives are known by their SHA-256, so what a test can
// serve is refused at the end: that the right one is taken is tests/data/download_test.cpp's.
#include <doctest/doctest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/download.h"
#include "tests/support/http_server.h"
#include "tests/support/run_program.h"
#include "tests/support/test_data.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

Finished data(const std::string& arguments, const std::string& root) {
  return run_program("APOTNET_DATA=" + root + " " + std::string(APOTNET_BINARY) + " data " + arguments);
}

// A CIFAR-10 of a few records; record i has label i % 10.
void write_excerpt(const TemporaryFolder& folder, int records) {
  std::string content;
  for (int i = 0; i < records; ++i)
    content += std::string(1, static_cast<char>(i % 10)) + std::string(3072, static_cast<char>(7 * i));
  std::filesystem::create_directories(folder / "cifar-10-batches-bin");
  for (const char* name :
       {"data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"})
    write_text(folder / "cifar-10-batches-bin/" + std::string(name) + ".bin", content);
}

}  // namespace

TEST_CASE("data fetch: another file is refused, and the folder stays as it was") {
  const TemporaryFolder folder;
  HttpServer server("not the archive");
  const Finished refused =
      data("fetch cifar10 --quiet --mirror " + server.url() + " --to " + folder.string(), "/nowhere");
  CHECK(refused.exit_code == 65);
  CHECK(refused.one_line());
  CHECK(refused.error.find("is another file, its SHA-256 is ") != std::string::npos);
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("data fetch and check: messages") {
  const TemporaryFolder folder;
  struct Row {
    std::string arguments;
    int exit_code;
    const char* fragment;
  };
  for (const Row& row : {Row{"", 64, "apotnet data --help"}, Row{"fetch", 64, "NAME is required"},
                         Row{"fetch cifar11", 64, "no such data set; there are cifar10 and cifar100"},
                         Row{"fetch shapes10", 64, "is generated, there is nothing to download"},
                         Row{"fetch cifar10 cifar100 --mirror https://x/y", 64, "fetch the data sets one by one"},
                         Row{"fetch cifar10 --mirror http://example.org/x", 64, "give one that begins with https://"},
                         Row{"fetch cifar10 --to /proc/none", 74, "/proc/none"},
                         Row{"check", 66, "holds no data set; get one with apotnet data fetch cifar10"},
                         Row{"check --threads 0", 64, "--threads"}, Row{"check cifar10", 66, "no data_batch_1.bin"},
                         Row{"check /nowhere", 66, "neither a folder nor"}}) {
    CAPTURE(row.arguments);
    const Finished refused = data(row.arguments, folder.string());
    CHECK(refused.exit_code == row.exit_code);
    CHECK(refused.one_line());
    CHECK_MESSAGE(refused.error.find(row.fragment) != std::string::npos, refused.error);
  }
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("data check: an excerpt, a damaged record, all that is in the data folder") {
  const TemporaryFolder folder;
  write_excerpt(folder, 13);
  const Finished found = data("check --json --threads 2", folder.string());
  CHECK(found.exit_code == 0);
  const auto report = nlohmann::json::parse(found.out);
  CHECK(report["dataset"] == "cifar10");
  CHECK(report["complete"] == false);
  CHECK(report["train"]["images"] == 65);
  CHECK(report["train"]["of"] == 50000);
  CHECK(report["train"]["fewest_of_class"] == 5);
  CHECK(report["train"]["most_of_class"] == 10);
  CHECK(report["test"]["images"] == 13);
  CHECK(data("check " + folder.string(), "/nowhere").out.find("readable, but not all of it: an excerpt") !=
        std::string::npos);
  // fetch leaves alone what is there.
  const Finished there = data("fetch cifar10 --threads 2", folder.string());
  CHECK(there.exit_code == 0);
  CHECK(there.error.find("is in " + folder.string() + " already") != std::string::npos);

  // Of a folder with something missing it says that it has to go first: fetch leaves it alone.
  const std::string batch = folder / "cifar-10-batches-bin/data_batch_3.bin";
  std::filesystem::rename(batch, folder / "aside");
  const Finished missing = data("check", folder.string());
  CHECK(missing.exit_code == 66);
  CHECK(missing.error.find("no data_batch_3.bin") != std::string::npos);
  CHECK(missing.error.find("delete the folder and get it again with apotnet data fetch cifar10") != std::string::npos);
  std::filesystem::rename(folder / "aside", batch);
  std::string content = read_text(batch);
  content[3073 * 4] = 10;
  write_text(batch, content);
  const Finished damaged = data("check", folder.string());
  CHECK(damaged.exit_code == 65);
  CHECK(damaged.one_line());
  CHECK(
      damaged.error.find("data_batch_3.bin: record 4: label 10 is not in 0 to 9; delete the folder and get it again") !=
      std::string::npos);
}

TEST_CASE("data check: the real CIFAR-10 is complete") {
  const auto folder = data_path("cifar-10-batches-bin");
  SKIP_WITHOUT(folder);
  const Finished found = data("check cifar10:" + folder.string() + " --json", "/nowhere");
  CHECK(found.exit_code == 0);
  CHECK(nlohmann::json::parse(found.out)["complete"] == true);
}

TEST_CASE("train without its data says how to get them, and asks nobody") {
  const TemporaryFolder folder;
  const std::string train = "APOTNET_DATA=" + folder.string() + " " + APOTNET_BINARY + " train " + kSourceFolder +
                            "/configs/resnet20_cifar_4bit.json --out " + folder / "run";
  const Finished refused = run_program(train);
  CHECK(refused.exit_code == 66);
  CHECK(refused.one_line());
  CHECK(refused.error.find("get it with apotnet data fetch cifar10, or name another folder") != std::string::npos);
  CHECK(std::filesystem::is_empty(folder.path()));
}
