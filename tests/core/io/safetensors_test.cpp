#include "core/io/safetensors.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstring>

#include "core/base/philox.h"
#include "core/io/crc32c.h"
#include "core/io/half.h"
#include "core/io/layout.h"
#include "tests/support/pth_writer.h"
#include "tests/support/refused_file.h"
#include "tests/support/test_data.h"

using namespace apotnet;
using test::Malformation;
using test::TemporaryFolder;

namespace {

std::string file_of(const std::string& header, const std::string& data) {
  return test::bytes_of(static_cast<uint64_t>(header.size())) + header + data;
}

// One tensor "w" of two floats with the given header entry.
std::string with_entry(const std::string& entry) { return file_of("{\"w\":" + entry + "}", std::string(8, '\x01')); }

TensorFile every_type() {
  TensorFile file;
  for (const DType dtype : {DType::f64, DType::f32, DType::u8, DType::s8, DType::s16, DType::s32, DType::i64}) {
    Tensor tensor({3, 2}, dtype);
    dispatch_any(dtype, [&](auto zero) {
      for (size_t i = 0; i < 6; ++i) tensor.data<decltype(zero)>()[i] = static_cast<decltype(zero)>(i * 7 + 1);
    });
    file.tensors.push_back({"tensor of " + std::string(name_of(dtype)), tensor});
  }
  file.tensors.push_back({"scalar", Tensor::scalar(2.5, DType::f32)});
  file.tensors.push_back({"empty", Tensor({0, 4}, DType::f32)});
  file.metadata = {{"format", "pt"}, {"note", "line\nand \"quotes\""}};
  return file;
}

}  // namespace

TEST_CASE("safetensors: what is written reads back, in order, and the bytes are always the same") {
  const TemporaryFolder folder;
  TensorFile file = every_type();
  add_checksums(file);
  write_safetensors(folder / "a", file);
  write_safetensors(folder / "b", file);
  CHECK(test::read_text(folder / "a") == test::read_text(folder / "b"));
  const TensorFile back = read_safetensors(folder / "a");
  CHECK(back.metadata == file.metadata);
  REQUIRE(back.tensors.size() == file.tensors.size());
  for (const NamedTensor& tensor : file.tensors) {
    const Tensor& other = *back.find(tensor.name);
    CHECK(other.shape() == tensor.tensor.shape());
    CHECK(other.dtype() == tensor.tensor.dtype());
    CHECK(std::memcmp(other.raw(), tensor.tensor.raw(), tensor.tensor.bytes()) == 0);
  }
}

TEST_CASE("safetensors: a file of ours opens in the Python package") {
  if (std::system("python3 -c 'import safetensors, numpy' >/dev/null 2>&1") != 0) {
    std::printf("skipped: python3 has no safetensors package\n");
    return;
  }
  const TemporaryFolder folder;
  write_safetensors(folder / "file.safetensors", every_type());
  test::write_text(folder / "read.py",
                   "import sys\nfrom safetensors import safe_open\nfrom safetensors.numpy import load_file\n"
                   "tensors = load_file(sys.argv[1])\n"
                   "assert len(tensors) == 9, tensors.keys()\n"
                   "for name in ('f64', 'f32', 'u8', 's8', 's16', 's32', 'i64'):\n"
                   "    assert tensors['tensor of ' + name].tolist() == [[1, 8], [15, 22], [29, 36]], name\n"
                   "assert tensors['scalar'] == 2.5 and tensors['empty'].shape == (0, 4)\n"
                   "assert safe_open(sys.argv[1], 'np').metadata()['note'] == 'line\\nand \"quotes\"'\n");
  const auto python = test::run_program("python3 " + folder / "read.py " + folder / "file.safetensors");
  CHECK_MESSAGE(python.exit_code == 0, python.error);
}

TEST_CASE("safetensors: F16 becomes f32, exactly") {
  const std::string header = R"({"h":{"dtype":"F16","shape":[6],"data_offsets":[0,12]}})";
  std::string data;
  for (const uint16_t bits : {0x3C00, 0xC000, 0x0001, 0x7BFF, 0x7C00, 0x8000}) data += test::bytes_of(bits);
  const std::string bytes = file_of(header, data);
  const TensorFile file = parse_safetensors(std::as_bytes(std::span(bytes)), "file");
  const auto values = file.tensors[0].tensor.data<float>();
  CHECK(values[0] == 1.0f);
  CHECK(values[1] == -2.0f);
  CHECK(values[2] == 0x1p-24f);
  CHECK(values[3] == 65504.0f);
  CHECK(std::isinf(values[4]));
  CHECK(std::signbit(values[5]));
}

TEST_CASE("safetensors: malformed files are refused by name") {
  const std::string good = R"({"dtype":"F32","shape":[2],"data_offsets":[0,8]})";
  const std::string two =
      R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":)";
  for (const Malformation& row : {
           Malformation{"an empty file", "", "neither safetensors nor"},
           {"a file of seven bytes", "1234567", "neither safetensors nor"},
           {"a header longer than the file", test::bytes_of(uint64_t{1000}) + "{\"w\":" + good + "}",
            "header of 1000 bytes"},
           {"a header of 2^63 bytes", test::bytes_of(uint64_t{1} << 63) + "{}", "claims a header"},
           {"a header of 200 MB", test::bytes_of(uint64_t{200'000'000}) + "{}", "claims a header"},
           {"a header that is no JSON", file_of("{\"w\":", ""), "not valid JSON"},
           {"a header with a comment", file_of("{/* */}", ""), "not valid JSON"},
           {"invalid UTF-8 in a name", file_of("{\"\xff\":" + good + "}", std::string(8, ' ')), "not valid JSON"},
           {"a name twice", file_of("{\"w\":" + good + ",\"w\":" + good + "}", std::string(8, ' ')), "stands twice"},
           {"a key twice in an entry", with_entry(R"({"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]})"),
            "stands twice"},
           {"deep nesting", file_of("{\"w\":" + std::string(1000, '[') + std::string(1000, ']') + "}", ""),
            "nested more than"},
           {"an entry that is a list", with_entry("[]"), "needs exactly dtype"},
           {"an entry without shape", with_entry(R"({"dtype":"F32","data_offsets":[0,8]})"), "needs exactly dtype"},
           {"an entry with more", with_entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1})"),
            "needs exactly dtype"},
           {"an unknown type", with_entry(R"({"dtype":"F31","shape":[2],"data_offsets":[0,8]})"), "unknown type"},
           {"a type that is a number", with_entry(R"({"dtype":32,"shape":[2],"data_offsets":[0,8]})"), "unknown type"},
           {"a negative size", with_entry(R"({"dtype":"F32","shape":[-2],"data_offsets":[0,8]})"), "natural numbers"},
           {"a size with a fraction", with_entry(R"({"dtype":"F32","shape":[2.0],"data_offsets":[0,8]})"),
            "natural numbers"},
           {"a size that is true", with_entry(R"({"dtype":"F32","shape":[true],"data_offsets":[0,8]})"),
            "natural numbers"},
           {"a size that is text", with_entry(R"({"dtype":"F32","shape":["2"],"data_offsets":[0,8]})"),
            "natural numbers"},
           {"a size above 2^53", with_entry(R"({"dtype":"F32","shape":[9007199254740994],"data_offsets":[0,8]})"),
            "natural numbers"},
           {"sizes that overflow",
            with_entry(R"({"dtype":"F32","shape":[4294967296,4294967296,4294967296],"data_offsets":[0,8]})"),
            "more bytes than"},
           {"six dimensions", with_entry(R"({"dtype":"F32","shape":[2,1,1,1,1,1],"data_offsets":[0,8]})"), "at most 5"},
           {"offsets backwards", with_entry(R"({"dtype":"F32","shape":[2],"data_offsets":[8,0]})"), "outside the"},
           {"offsets behind the end", with_entry(R"({"dtype":"F32","shape":[2],"data_offsets":[4,12]})"),
            "outside the"},
           {"one offset", with_entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0]})"), "two numbers"},
           {"an offset with a fraction", with_entry(R"({"dtype":"F32","shape":[2],"data_offsets":[0,8.5]})"),
            "natural numbers"},
           {"too few bytes for the shape", with_entry(R"({"dtype":"F32","shape":[1],"data_offsets":[0,8]})"),
            "shape and type need 4"},
           {"tensors that overlap", file_of(two + "[2,6]}}", std::string(6, ' ')), "overlaps"},
           {"a hole between tensors", file_of(two + "[6,10]}}", std::string(10, ' ')), "hole of 2 bytes"},
           {"a hole at the start",
            file_of(R"({"w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", std::string(8, ' ')),
            "hole of 4 bytes"},
           {"trailing bytes", file_of("{\"w\":" + good + "}", std::string(9, ' ')), "1 bytes at the end"},
           {"metadata that are no strings", file_of(R"({"__metadata__":{"epoch":3}})", ""), "is not a string"},
           {"metadata that are a list", file_of(R"({"__metadata__":[]})", ""), "not an object"},
           {"a tensor without a name", file_of("{\"\":" + good + "}", std::string(8, ' ')), "without a name"},
           {"a checksum that does not match",
            file_of(R"({"__metadata__":{"crc32c":"{\"w\":\"00000000\"}"},"w":)" + good + "}", std::string(8, ' ')),
            "checksum"},
           {"checksums that are no object",
            file_of(R"({"__metadata__":{"crc32c":"7"},"w":)" + good + "}", std::string(8, ' ')), "crc32c"},
       })
    test::check_refused(row);
}

TEST_CASE("safetensors: files cut off or with random bytes changed are refused or read, never a crash") {
  TensorFile small = every_type();
  const auto serialized = serialize_safetensors(small);
  const std::string bytes(reinterpret_cast<const char*>(serialized.data()), serialized.size());
  for (size_t size = 0; size < bytes.size(); size += 3) test::check_survived(bytes.substr(0, size));
  Philox random(6, RandomStream::test);
  for (int round = 0; round < 1500; ++round) {
    std::string mutated = bytes;
    for (uint32_t change = 0; change <= random.below(3); ++change)
      mutated[random.below(static_cast<uint32_t>(mutated.size()))] = static_cast<char>(random.below(256));
    test::check_survived(mutated);
  }
}

TEST_CASE("crc32c gives the published check value") {
  const std::string digits = "123456789";
  CHECK(crc32c(std::as_bytes(std::span(digits))) == 0xE3069283u);
}

TEST_CASE("layouts: OIHW to OHWI and back, element by element") {
  Tensor oihw({2, 3, 4, 5}, DType::s32);
  for (int32_t i = 0; i < 120; ++i) oihw.data<int32_t>()[static_cast<size_t>(i)] = i;
  const Tensor ohwi = weight_from_pytorch(oihw);
  CHECK(ohwi.shape() == Shape{2, 4, 5, 3});
  for (size_t o = 0; o < 2; ++o)
    for (size_t i = 0; i < 3; ++i)
      for (size_t h = 0; h < 4; ++h)
        for (size_t w = 0; w < 5; ++w)
          CHECK(ohwi.data<int32_t>()[((o * 4 + h) * 5 + w) * 3 + i] ==
                oihw.data<int32_t>()[((o * 3 + i) * 4 + h) * 5 + w]);
  CHECK(std::ranges::equal(weight_to_pytorch(ohwi).data<int32_t>(), oihw.data<int32_t>()));
  const Tensor vector = Tensor::full({7}, DType::f32, 1);
  CHECK(weight_from_pytorch(vector).shape() == Shape{7});
}
