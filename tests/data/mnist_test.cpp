#include "data/mnist.h"

#include <zlib.h>

#include "tests/data/support.h"

using namespace apotnet;
using namespace apotnet::test;
namespace fs = std::filesystem;

namespace {

std::string big_endian(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

std::string image_file(uint32_t count, uint8_t first) {
  std::string file = std::string("\0\0\x08\x03", 4) + big_endian(count) + big_endian(28) + big_endian(28);
  for (uint32_t i = 0; i < count * 28 * 28; ++i) file += static_cast<char>(first + i / 784 * 3 + i % 784);
  return file;
}

std::string label_file(uint32_t count) {
  std::string file = std::string("\0\0\x08\x01", 4) + big_endian(count);
  for (uint32_t i = 0; i < count; ++i) file += static_cast<char>((i * 7) % 10);
  return file;
}

void write_packed(const fs::path& path, const std::string& content) {
  fs::create_directories(path.parent_path());
  gzFile out = gzopen(path.c_str(), "wb");
  gzwrite(out, content.data(), static_cast<unsigned>(content.size()));
  gzclose(out);
}

}  // namespace

TEST_CASE("mnist: the official files, plain and packed; the test split is that of the t10k files") {
  TemporaryFolder scratch;
  CHECK_FALSE(holds_mnist(scratch.path()));
  write_file(scratch.path() / "train-images-idx3-ubyte", image_file(30, 0));
  write_file(scratch.path() / "train-labels-idx1-ubyte", label_file(30));
  write_packed(scratch.path() / "MNIST/raw/t10k-images-idx3-ubyte.gz", image_file(20, 100));
  write_packed(scratch.path() / "MNIST/raw/t10k-labels-idx1-ubyte.gz", label_file(20));
  CHECK(holds_mnist(scratch.path()));
  const auto train = read_mnist(scratch.path(), Split::train), test = read_mnist(scratch.path(), Split::test);
  CHECK(train->size() == 30);
  REQUIRE(test->size() == 20);
  CHECK(test->split_name() == "test");
  CHECK(test->channels() == 1);
  CHECK(test->label(3) == 1);
  CHECK(train->view(0)[0] == 0);
  CHECK(test->view(0)[0] == 100);
  CHECK(test->view(2)[5] == 111);
}

TEST_CASE("mnist: damaged files are one line with the file") {
  TemporaryFolder scratch;
  const fs::path images = scratch.path() / "t10k-images-idx3-ubyte", labels = scratch.path() / "t10k-labels-idx1-ubyte";
  const auto expect = [&](const std::string& image_bytes, const std::string& label_bytes,
                          const std::vector<std::string>& parts) {
    write_file(images, image_bytes);
    write_file(labels, label_bytes);
    check_error([&] { read_mnist(scratch.path(), Split::test); }, ErrorCategory::damaged_data, parts);
  };
  check_error([&] { read_mnist(scratch.path(), Split::test); }, ErrorCategory::input_missing,
              {"no t10k-images-idx3-ubyte", "mnist:DIR"});
  const std::string good = image_file(4, 0), good_labels = label_file(4);
  expect(good.substr(0, 10), good_labels, {"t10k-images", "cut off"});
  expect(good.substr(0, good.size() - 1), good_labels, {"t10k-images", "cut off"});
  expect(good + "x", good_labels, {"t10k-images", "goes on"});
  expect(good, label_file(5), {"t10k-labels", "5 labels for 4 images"});
  std::string changed = good;
  changed[3] = 4;
  expect(changed, good_labels, {"no idx file"});
  changed = good;
  changed[11] = 27;
  expect(changed, good_labels, {"28 x 27"});
  changed = good;
  changed[4] = '\x7f';
  expect(changed, good_labels, {"says it holds"});
  changed = good_labels;
  changed[9] = 10;
  expect(good, changed, {"label 1 is 10"});
  fs::remove(images);
  write_packed(scratch.path() / "t10k-images-idx3-ubyte.gz", good);
  write_file(labels, good_labels);
  CHECK(read_mnist(scratch.path(), Split::test)->size() == 4);
  fs::resize_file(scratch.path() / "t10k-images-idx3-ubyte.gz", 60);
  check_error([&] { read_mnist(scratch.path(), Split::test); }, ErrorCategory::damaged_data, {".gz", "cut off"});
}
