#include "data/cifar.h"

#include <array>
#include <cmath>
#include <functional>

#include "tests/data/support.h"
#include "tests/support/allocation_record.h"
#include "tests/support/test_data.h"

using namespace apotnet;
using namespace apotnet::test;
namespace fs = std::filesystem;

namespace {

/// Byte of plane `channel` at `pixel` of record `record`: every place differs from its neighbours.
char pixel_byte(size_t record, size_t channel, size_t pixel) {
  return static_cast<char>(record * 31 + channel * 97 + pixel * 7 + pixel / 32);
}

std::string record_of(const std::vector<int>& labels, size_t record) {
  std::string bytes;
  for (const int label : labels) bytes += static_cast<char>(label);
  for (size_t channel = 0; channel < 3; ++channel)
    for (size_t pixel = 0; pixel < 1024; ++pixel) bytes += pixel_byte(record, channel, pixel);
  return bytes;
}

/// Records with the given labels (CIFAR-100: {coarse, fine} each).
std::string records_of(const std::vector<std::vector<int>>& labels) {
  std::string bytes;
  for (size_t i = 0; i < labels.size(); ++i) bytes += record_of(labels[i], i);
  return bytes;
}

void write_cifar10(const fs::path& folder) {
  for (int i = 1; i <= 5; ++i) write_file(folder / text("data_batch_", i, ".bin"), records_of({{i}, {9}, {0}}));
  write_file(folder / "test_batch.bin", records_of({{3}, {8}}));
  write_file(folder / "batches.meta.txt", "plane\ncar\r\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n");
}

void write_cifar100(const fs::path& folder) {
  write_file(folder / "train.bin", records_of({{0, 99}, {19, 0}, {4, 5}}));
  write_file(folder / "test.bin", records_of({{11, 42}}));
}

}  // namespace

TEST_CASE("CIFAR-10 planes become pixels, files follow each other, names come from the meta file") {
  TemporaryFolder scratch;
  write_cifar10(scratch.path());
  const auto train = read_cifar10(scratch.path(), Split::train);
  CHECK(train->size() == 15);
  CHECK(train->name() == "cifar10");
  CHECK(train->split_name() == "train");
  CHECK(train->class_names()[1] == "car");
  CHECK(train->info().std[2] == .262f);
  std::vector<uint8_t> image(3072);
  for (const size_t index : {0u, 7u, 14u}) {
    train->read(static_cast<int64_t>(index), image);
    for (size_t pixel = 0; pixel < 1024; ++pixel)
      for (size_t channel = 0; channel < 3; ++channel)
        REQUIRE(image[pixel * 3 + channel] == static_cast<uint8_t>(pixel_byte(index % 3, channel, pixel)));
  }
  CHECK(train->label(3) == 2);
  CHECK(train->label(4) == 9);
  CHECK(read_cifar10(scratch.path(), Split::test)->label(0) == 3);
}

TEST_CASE("CIFAR-100 uses the fine label and has its names built in") {
  TemporaryFolder scratch;
  write_cifar100(scratch.path() / "cifar-100-binary");  // the archive's own folder is found too
  const auto train = read_cifar100(scratch.path(), Split::train);
  CHECK(train->size() == 3);
  CHECK(train->classes() == 100);
  CHECK(train->class_names().back() == "worm");
  CHECK(train->class_names()[42] == "leopard");
  CHECK(train->label(0) == 99);
  CHECK(train->label(2) == 5);
  CHECK(holds_cifar100(scratch.path()));
  CHECK(!holds_cifar10(scratch.path()));
}

TEST_CASE("a damaged or missing CIFAR file is one line that says where") {
  struct Damage {
    std::string name;
    std::function<void(const fs::path&)> inflict;
    ErrorCategory category;
    std::vector<std::string> message;
  };
  const auto damaged = ErrorCategory::damaged_data, missing = ErrorCategory::input_missing;
  const std::vector<Damage> cifar10_damages{
      {"last record cut off",
       [](const fs::path& p) { fs::resize_file(p / "data_batch_2.bin", 3 * 3073 - 1); },
       damaged,
       {"data_batch_2.bin", "record 2 ends after 3072 of 3073 bytes", "9218"}},
      {"one byte too many",
       [](const fs::path& p) { fs::resize_file(p / "data_batch_2.bin", 3 * 3073 + 1); },
       damaged,
       {"data_batch_2.bin", "record 3 ends after 1 of 3073 bytes"}},
      {"empty file",
       [](const fs::path& p) { fs::resize_file(p / "data_batch_4.bin", 0); },
       damaged,
       {"data_batch_4.bin", "empty"}},
      {"label 10",
       [](const fs::path& p) {
         write_file(p / "data_batch_5.bin", records_of({{0}, {10}}));
       },
       damaged,
       {"data_batch_5.bin", "record 1", "label 10", "0 to 9"}},
      {"label 255",
       [](const fs::path& p) { write_file(p / "data_batch_1.bin", records_of({{255}})); },
       damaged,
       {"data_batch_1.bin", "record 0", "label 255", "0 to 9"}},
      {"CIFAR-100 records",
       [](const fs::path& p) {
         write_file(p / "data_batch_1.bin", records_of({{1, 2}}));
       },
       damaged,
       {"data_batch_1.bin", "record 1 ends after 1 of 3073 bytes"}},
      {"first batch missing",
       [](const fs::path& p) { fs::remove(p / "data_batch_1.bin"); },
       missing,
       {"no data_batch_1.bin", "apotnet data fetch cifar10", "--data cifar10:DIR"}},
      {"middle batch missing",
       [](const fs::path& p) { fs::remove(p / "data_batch_3.bin"); },
       missing,
       {"no data_batch_3.bin"}},
      {"everything missing", [](const fs::path& p) { fs::remove_all(p); }, missing, {"no data_batch_1.bin"}},
      {"folder instead of a file",
       [](const fs::path& p) {
         fs::remove(p / "data_batch_3.bin");
         fs::create_directory(p / "data_batch_3.bin");
       },
       damaged,
       {"data_batch_3.bin", "not a file"}},
      {"nine class names",
       [](const fs::path& p) { write_file(p / "batches.meta.txt", "1\n2\n3\n4\n5\n6\n7\n8\n9\n"); },
       damaged,
       {"batches.meta.txt", "9 class names, expected 10"}},
      {"eleven class names",
       [](const fs::path& p) { write_file(p / "batches.meta.txt", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11"); },
       damaged,
       {"batches.meta.txt", "11 class names"}},
      {"a meta file of 100 KB",
       [](const fs::path& p) { fs::resize_file(p / "batches.meta.txt", 100'000); },
       damaged,
       {"batches.meta.txt", "100000 bytes"}},
  };
  const std::vector<Damage> cifar100_damages{
      {"fine label 100",
       [](const fs::path& p) {
         write_file(p / "train.bin", records_of({{0, 99}, {0, 100}}));
       },
       damaged,
       {"train.bin", "record 1", ": label 100", "0 to 99"}},
      {"coarse label 20",
       [](const fs::path& p) {
         write_file(p / "train.bin", records_of({{20, 3}}));
       },
       damaged,
       {"train.bin", "record 0", "coarse label 20", "0 to 19"}},
      {"CIFAR-10 records",
       [](const fs::path& p) {
         write_file(p / "train.bin", records_of({{1}, {2}}));
       },
       damaged,
       {"train.bin", "record 1 ends after 3072 of 3074 bytes"}},
      {"train file missing", [](const fs::path& p) { fs::remove(p / "train.bin"); }, missing, {"no train.bin"}},
      {"two class names",
       [](const fs::path& p) { write_file(p / "fine_label_names.txt", "apple\nbear\n"); },
       damaged,
       {"fine_label_names.txt", "2 class names, expected 100"}},
  };
  const auto check_all = [](const std::vector<Damage>& damages, auto write, auto read) {
    for (const Damage& damage : damages) {
      CAPTURE(damage.name);
      TemporaryFolder scratch;
      write(scratch.path());
      CHECK_NOTHROW(read(scratch.path(), Split::train));
      damage.inflict(scratch.path());
      check_error([&] { read(scratch.path(), Split::train); }, damage.category, damage.message);
    }
  };
  check_all(cifar10_damages, write_cifar10, read_cifar10);
  check_all(cifar100_damages, write_cifar100, read_cifar100);
}

TEST_CASE("reading CIFAR asks for no more memory at once than twice its file") {
  TemporaryFolder scratch;
  write_file(scratch.path() / "test_batch.bin", records_of(std::vector<std::vector<int>>(64, {1})));
  reset_largest_allocation();
  CHECK(read_cifar10(scratch.path(), Split::test)->size() == 64);
  CHECK(largest_allocation() >= 64 * 3072);
  CHECK(largest_allocation() <= 2 * 64 * 3073);
}

// Nothing here depends on the order of the records: copies of CIFAR-10 differ in it.
TEST_CASE("the real CIFAR-10 has 50,000 and 10,000 images, evenly labelled, with the published colour statistics") {
  const fs::path folder = data_path("cifar-10-batches-bin");
  SKIP_WITHOUT(folder);
  for (const Split split : {Split::train, Split::test}) {
    const auto dataset = read_cifar10(folder, split);
    const int64_t expected = split == Split::train ? 50000 : 10000;
    CHECK(dataset->size() == expected);
    CHECK(dataset->class_names()[0] == "airplane");
    std::vector<int64_t> counts(10);
    std::array<int64_t, 3> sums{}, squares{};
    std::vector<uint8_t> image(3072);
    for (int64_t i = 0; i < dataset->size(); ++i) {
      ++counts[static_cast<size_t>(dataset->label(i))];
      dataset->read(i, image);
      for (size_t k = 0; k < image.size(); ++k) {
        sums[k % 3] += image[k];
        squares[k % 3] += image[k] * image[k];
      }
    }
    for (const int64_t count : counts) CHECK(count == expected / 10);
    for (size_t channel = 0; channel < 3; ++channel) {  // red, green and blue differ: this also proves their order
      const double values = 1024.0 * static_cast<double>(expected);
      const double mean = static_cast<double>(sums[channel]) / values;
      const double deviation = std::sqrt(static_cast<double>(squares[channel]) / values - mean * mean);
      CHECK(std::abs(mean / 255 - static_cast<double>(dataset->info().mean[channel])) < 0.004);
      CHECK(std::abs(deviation / 255 - static_cast<double>(dataset->info().std[channel])) < 0.002);
    }
  }
}
