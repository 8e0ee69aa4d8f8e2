#include "data/archive.h"

#include <doctest/doctest.h>
#include <zlib.h>

#include <cstdio>
#include <filesystem>

#include "core/base/error.h"
#include "tests/support/backends.h"
#include "tests/support/files.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

struct Entry {
  std::string name, content;
  char kind = '0';  // of ustar: 0 file, 1 hard link, 2 symbolic link, 5 folder
  std::string link{};
  int64_t said_size = -1;  // another than it has
};

std::string octal(int64_t value, int digits) {
  char text[24];
  std::snprintf(text, sizeof text, "%0*llo", digits, static_cast<unsigned long long>(value));
  return text;
}

// A ustar header with its checksum.
std::string header(const Entry& entry) {
  std::string block(512, '\0');
  const auto put = [&](size_t at, const std::string& value) { block.replace(at, value.size(), value); };
  put(0, entry.name);
  put(100, "0000644");
  put(108, "0000000");
  put(116, "0000000");
  put(124, octal(entry.said_size < 0 ? static_cast<int64_t>(entry.content.size()) : entry.said_size, 11));
  put(136, octal(0, 11));
  put(148, "        ");
  block[156] = entry.kind;
  put(157, entry.link);
  put(257, std::string("ustar\00000", 8));
  int64_t sum = 0;
  for (const char byte : block) sum += static_cast<unsigned char>(byte);
  put(148, octal(sum, 6) + std::string("\0 ", 2));
  return block;
}

std::string gzip(const std::string& bytes) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
  std::string out(deflateBound(&stream, bytes.size()) + 64, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string tar_gz(const std::vector<Entry>& entries) {
  std::string tar;
  for (const Entry& entry : entries) {
    tar += header(entry) + entry.content;
    tar.resize((tar.size() + 511) / 512 * 512);
  }
  return gzip(tar + std::string(1024, '\0'));
}

std::string noise(size_t count) {
  Philox random = random_numbers(171);
  std::string bytes(count, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random.below(256));
  return bytes;
}

const std::vector<Entry> kGood{
    {"set/", "", '5'}, {"set/a.bin", noise(5000)}, {"set/deep/b.txt", "text\n"}, {"readme", "x"}};

// The message of unpacking `archive`, which must leave nothing behind.
std::string refusal(const std::string& archive, ErrorCategory category = ErrorCategory::damaged_data) {
  const TemporaryFolder folder;
  write_text(folder / "x.tar.gz", archive);
  try {
    unpack_folder(folder / "x.tar.gz", "set", folder.string());
    FAIL("no error");
  } catch (const Error& error) {
    CHECK(error.category() == category);
    CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("archive: the folder of a .tar.gz appears whole, and nothing else of it") {
  const TemporaryFolder folder;
  write_text(folder / "x.tar.gz", tar_gz(kGood));
  unpack_folder(folder / "x.tar.gz", "set", folder.string());
  CHECK(read_text(folder / "set/a.bin") == kGood[1].content);
  CHECK(read_text(folder / "set/deep/b.txt") == "text\n");
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 2);
  // What is there is not overwritten.
  write_text(folder / "set/a.bin", "mine");
  CHECK_THROWS_AS(unpack_folder(folder / "x.tar.gz", "set", folder.string()), Error);
  CHECK(read_text(folder / "set/a.bin") == "mine");
}

TEST_CASE("archive: cut off anywhere it is damage, and nothing is left") {
  const std::string whole = tar_gz(kGood);
  for (size_t bytes = 0; bytes + 600 < whole.size(); bytes += 97) {
    CAPTURE(bytes);
    refusal(whole.substr(0, bytes));
  }
}

TEST_CASE("archive: flipped bits are damage or other bytes in a file, nothing worse") {
  const std::string whole = tar_gz(kGood);
  Philox random = random_numbers(172);
  for (int i = 0; i < 60; ++i) {
    std::string damaged = whole;
    // Behind the header of gzip, whose date and flags change nothing.
    const size_t at = 10 + random.below(static_cast<uint32_t>(whole.size() - 10));
    damaged[at] = static_cast<char>(damaged[at] ^ (1 << random.below(8)));
    const TemporaryFolder folder;
    write_text(folder / "x.tar.gz", damaged);
    try {
      unpack_folder(folder / "x.tar.gz", "set", folder.string());
      CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 2);
    } catch (const Error& error) {
      CHECK(error.category() == ErrorCategory::damaged_data);
    }
  }
}

TEST_CASE("archive: nothing leaves the folder, and only files and folders are made") {
  for (const char* name : {"../set/a", "set/../../a", "/etc/a", "set/x/../../../b", ".."}) {
    CAPTURE(name);
    CHECK(refusal(tar_gz({{"set/", "", '5'}, {name, "evil"}})).find("outside of its folder") != std::string::npos);
  }
  CHECK(refusal(tar_gz({{"set/l", "", '2', "/etc"}, {"set/l/a", "x"}})).find("neither") != std::string::npos);
  CHECK(refusal(tar_gz({{"set/a", "x"}, {"set/b", "", '1', "/etc/passwd"}})).find("neither") != std::string::npos);
  CHECK(refusal(tar_gz({{"set/d", "", '3'}})).find("neither") != std::string::npos);
  CHECK(refusal(tar_gz({{"other/a", "x"}})).find("holds no folder set") != std::string::npos);
  CHECK(refusal(tar_gz({})).find("holds no folder set") != std::string::npos);
}

TEST_CASE("archive: sizes are not believed") {
  CHECK(refusal(tar_gz({{"set/a", "short", '0', "", int64_t{1} << 32}})).find("would have 4294967296 bytes") !=
        std::string::npos);
  refusal(tar_gz({{"set/a", "short", '0', "", 900'000'000}}));
  std::string broken = header(kGood[1]) + kGood[1].content;
  broken[3] = 'x';  // the checksum is of another name
  refusal(gzip(broken));
  refusal("no archive at all");
  refusal(gzip(noise(3000)));
}
