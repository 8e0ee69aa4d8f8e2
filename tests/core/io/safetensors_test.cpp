#include "core/io/safetensors.h"

#include <doctest/doctest.h>

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "core/base/error.h"
#include "tests/support/damage.h"
#include "tests/support/pth_writer.h"
#include "tests/support/test_data.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

TensorFile every_type() {
  TensorFile file;
  file.tensors = {{"layer.weight", Tensor::from<float>({2, 3}, {0, 1.5f, -2, 3, 4, 5})},
                  {"scalar", Tensor::scalar(7, DType::f64)},
                  {"long", Tensor::from<int64_t>({2}, {-1, int64_t{1} << 40})},
                  {"bytes", Tensor::from<uint8_t>({3}, {0, 128, 255})},
                  {"empty", Tensor::zeros({0, 5}, DType::f32)},
                  {"s8", Tensor::from<int8_t>({1}, {-8})},
                  {"s16", Tensor::from<int16_t>({1, 1, 1, 1, 1}, {-300})},
                  {"s32", Tensor::from<int32_t>({1}, {-70000})},
                  {"bf16 \xC3\xA4 \"quoted\"\n", Tensor::from<BFloat16>({1}, {BFloat16{0x3F80}})}};
  file.metadata = {{"format_version", "1"}, {"note", "two\nlines"}};
  return file;
}

void check_same(const TensorFile& a, const TensorFile& b) {
  CHECK(a.metadata == b.metadata);
  REQUIRE(a.tensors.size() == b.tensors.size());
  for (size_t i = 0; i < a.tensors.size(); ++i) {
    const Tensor &x = a.tensors[i].tensor, &y = b.tensors[i].tensor;
    CHECK(a.tensors[i].name == b.tensors[i].name);
    CHECK(x.dtype() == y.dtype());
    CHECK(x.shape() == y.shape());
    CHECK(std::memcmp(x.raw(), y.raw(), x.bytes()) == 0);
  }
}

std::string as_text(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string with_header(const std::string& header, size_t data_bytes) {
  return raw(uint64_t{header.size()}) + header + std::string(data_bytes, '\1');
}

// One tensor "a" of the given fields with 8 bytes of data.
std::string with_tensor(const std::string& fields, size_t data_bytes = 8) {
  return with_header("{\"a\":{" + fields + "}}", data_bytes);
}

std::string two_tensors(const std::string& first, const std::string& second, size_t data_bytes) {
  return with_header(R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + first +
                         R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + second + "}}",
                     data_bytes);
}

std::string checksummed(const std::string& sums) {
  return with_header(
      R"({"__metadata__":{"crc32c":")" + sums + R"("},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1);
}

}  // namespace

TEST_CASE("safetensors: what is written is read, the same content gives the same bytes") {
  const TemporaryFolder folder;
  TensorFile file = every_type();
  add_checksums(file);
  write_safetensors(folder / "a", file);
  check_same(read_safetensors(folder / "a"), file);
  const auto bytes = serialize_safetensors(file);
  CHECK(read_text(folder / "a") == as_text(bytes));
  CHECK(static_cast<uint8_t>(bytes[0]) % 8 == 0);
  write_safetensors(folder / "b", read_safetensors(folder / "a"));
  CHECK(read_text(folder / "b") == as_text(bytes));
  check_same(parse_safetensors(serialize_safetensors({}), "x"), {});

  TensorFile newer = file;
  newer.metadata["note"] = "newer";
  CHECK(refusal(parse_safetensors, as_text(serialize_safetensors(newer))).find("metadata do not match") !=
        std::string::npos);
  add_checksums(newer);
  write_safetensors_keeping_former(folder / "a", folder / "a.prev", newer);
  check_same(read_safetensors(folder / "a"), newer);
  check_same(read_safetensors(folder / "a.prev"), file);
}

TEST_CASE("safetensors: what cannot be read again is not written") {
  const Tensor one = Tensor::scalar(1, DType::f32);
  for (const TensorFile& file : {TensorFile{{{"a", one}, {"a", one}}, {}}, TensorFile{{{"\xFF", one}}, {}},
                                 TensorFile{{{"__metadata__", one}}, {}}, TensorFile{{{"a", Tensor()}}, {}}})
    CHECK_THROWS_AS(serialize_safetensors(file), Error);
}

TEST_CASE("safetensors: F16 is read as f32") {
  std::string data;
  for (const uint16_t half : {0x0000, 0x8000, 0x3C00, 0xC000, 0x7BFF, 0x0001, 0x83FF, 0x7C00, 0xFC00, 0x7E00})
    data += raw(half);
  const TensorFile file = parse_safetensors(
      to_bytes(with_header(R"({"h":{"dtype":"F16","shape":[10],"data_offsets":[0,20]}})", 0) + data), "x");
  const auto values = file.tensors[0].tensor.data<float>();
  const std::vector<float> expected{0, -0.f, 1, -2, 65504, 0x1p-24f, -1023 * 0x1p-24f, INFINITY, -INFINITY};
  for (size_t i = 0; i < expected.size(); ++i) CHECK(values[i] == expected[i]);
  CHECK(std::signbit(values[1]));
  CHECK(std::isnan(values[9]));
}

TEST_CASE("safetensors: shapes with zeros, whatever stands beside them") {
  for (const char* shape : {"[0]", "[5,0]", "[0,5]", "[3,0,7]"}) {
    CAPTURE(shape);
    CHECK(refusal(parse_safetensors,
                  with_tensor(text(R"("dtype":"F32","shape":)", shape, R"(,"data_offsets":[0,0])"), 0)) == "");
  }
}

TEST_CASE("safetensors: the golden tables are read") {
  int files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(golden_folder())) {
    if (entry.path().extension() != ".safetensors") continue;
    const TensorFile file = read_safetensors(entry.path().string());
    CHECK(file.tensors.size() >= 12);
    CHECK(file.metadata.contains("layout"));
    ++files;
  }
  CHECK(files >= 29);
}

TEST_CASE("safetensors: a damaged header is refused with its reason") {
  const std::string good = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  REQUIRE(refusal(parse_safetensors, with_tensor(good)) == "");
  check_damages(parse_safetensors,
                {{"empty file", "", "too short"},
                 {"header length cut off", "1234567", "too short"},
                 {"header longer than the file", raw(uint64_t{100}) + "{}", "claims a header of 100 bytes"},
                 {"header length overflows", raw(~uint64_t{0}) + "{}", "claims a header of 18446744073709551615"},
                 {"no header", raw(uint64_t{0}), "does not start with '{'"},
                 {"header is a list", with_header("[]", 0), "does not start with '{'"},
                 {"white space first", with_header(" {}", 0), "does not start with '{'"},
                 {"not JSON", with_header("{hello}", 0), "not valid JSON at byte 2"},
                 {"JSON cut off", with_header("{\"a\":", 0), "not valid JSON"},
                 {"two JSON values", with_header("{}{}", 0), "not valid JSON"},
                 {"something behind a zero byte", with_header(std::string("{}\0{}", 5), 0), "not valid JSON at byte 3"},
                 {"name not UTF-8", with_header("{\"\xFF\":{}}", 0), "not valid JSON"},
                 {"name of a lone surrogate", with_header(R"({"\ud800":{}})", 0), "not valid JSON"},
                 {"duplicate name", with_header("{\"a\":{" + good + "},\"a\":{" + good + "}}", 8), "has \"a\" twice"},
                 {"duplicate field", with_tensor(good + R"(,"dtype":"F32")"), "has \"dtype\" twice"},
                 {"duplicate metadata", with_header(R"({"__metadata__":{"k":"1","k":"2"}})", 0), "has \"k\" twice"},
                 {"two metadata", with_header(R"({"__metadata__":{},"__metadata__":{}})", 0), "twice"},
                 {"metadata not text", with_header(R"({"__metadata__":{"k":1}})", 0),
                  "a number where it may not, in __metadata__"},
                 {"metadata is a list", with_header(R"({"__metadata__":[]})", 0), "a list where it may not"},
                 {"nested without end", with_header("{\"a\":" + std::string(50000, '['), 0), "a list where it may not"},
                 {"objects without end",
                  with_header(
                      [] {
                        std::string s;
                        for (int i = 0; i < 9999; ++i) s += "{\"a\":";
                        return s;
                      }(),
                      0),
                  "unknown field \"a\""},
                 {"tensor is a number", with_header(R"({"a":1})", 0), "a number where it may not"},
                 {"tensor is null", with_header(R"({"a":null})", 0), "null where it may not"},
                 {"unknown field", with_tensor(good + R"(,"strides":[1])"), "unknown field \"strides\""}});
}

TEST_CASE("safetensors: tensors that do not fit their data are refused with the reason") {
  const auto shape = [](const std::string& text) {
    return with_tensor(R"("dtype":"F32","data_offsets":[0,8],"shape":)" + text);
  };
  const auto offsets = [](const std::string& text) {
    return with_tensor(R"("dtype":"F32","shape":[2],"data_offsets":)" + text);
  };
  check_damages(
      parse_safetensors,
      {{"no dtype", with_tensor(R"("shape":[2],"data_offsets":[0,8])"), "lacks dtype"},
       {"no shape", with_tensor(R"("dtype":"F32","data_offsets":[0,8])"), "lacks shape"},
       {"no offsets", with_tensor(R"("dtype":"F32","shape":[2])"), "lacks data_offsets"},
       {"unknown type", with_tensor(R"("dtype":"F8\n","shape":[2],"data_offsets":[0,8])"), "unknown type \"F8\\x0a\""},
       {"type is a number", with_tensor(R"("dtype":32,"shape":[2],"data_offsets":[0,8])"), "a number where it may not"},
       {"shape is a text", shape("\"2\""), "a string where it may not, in tensor \"a\""},
       {"size is a fraction", shape("[2.0]"), "a fraction"},
       {"size is a boolean", shape("[true]"), "a boolean"},
       {"size is negative", shape("[-2]"), "a negative number"},
       {"size above 2^53", shape("[9007199254740993]"), "above 2^53"},
       {"size above 2^64", shape("[18446744073709551618]"), "beyond 64 bits"},
       {"size is a list", shape("[[2]]"), "a list where it may not"},
       {"six dimensions", shape("[1,1,1,1,1,2]"), "more than 5 dimensions"},
       {"product overflows", shape("[9007199254740992,9007199254740992,4]"), "too many elements"},
       {"product wraps to fit", shape("[4294967296,4294967296,2]"), "too many elements"},
       {"shape too large", shape("[3]"), "gives 8 bytes where shape and type need 12"},
       {"shape too small", shape("[]"), "gives 8 bytes where shape and type need 4"},
       {"one offset", offsets("[8]"), "1 data_offsets instead of two"},
       {"three offsets", offsets("[0,8,8]"), "more than two data_offsets"},
       {"end before begin", offsets("[8,0]"), "outside the 8 bytes"},
       {"end behind the data", offsets("[0,16]"), "outside the 8 bytes"},
       {"overlap", two_tensors("[0,4]", "[2,6]", 6), "\"b\" overlaps"},
       {"same bytes", two_tensors("[0,4]", "[0,4]", 4), "overlaps"},
       {"hole", two_tensors("[0,4]", "[6,10]", 10), "a hole of 2 bytes before tensor \"b\""},
       {"hole at the start", two_tensors("[2,6]", "[6,10]", 10), "a hole of 2 bytes before tensor \"a\""},
       {"trailing bytes", two_tensors("[0,4]", "[4,8]", 9), "1 bytes at the end belong to no tensor"},
       {"data without tensors", with_header("{}", 3), "3 bytes at the end"}});
}

TEST_CASE("safetensors: damaged checksums are refused") {
  check_damages(parse_safetensors,
                {{"wrong checksum", checksummed(R"({\"a\":\"00000000\"})"), "\"a\" does not match its checksum"},
                 {"checksum missing", checksummed("{}"), "\"a\" has no checksum"},
                 {"something behind a zero byte", checksummed(R"({\"a\":\"00000000\"}\u0000x)"),
                  "metadata crc32c is not valid JSON at byte 17"},
                 {"checksums are no JSON", checksummed("hm"), "metadata crc32c is not valid JSON"},
                 {"checksums are a list", checksummed("[]"), "metadata crc32c has a list"},
                 {"checksums are a text", checksummed(R"(\"x\")"), "metadata crc32c has a string"},
                 {"checksum is a number", checksummed(R"({\"a\":1})"), "metadata crc32c has a number"},
                 {"checksums nested", checksummed(R"({\"a\":{\"b\":\"c\"}})"), "metadata crc32c has an object"}});
}

TEST_CASE("safetensors: every truncation is refused, random damage never crashes") {
  TensorFile file = every_type();
  const std::string plain = as_text(serialize_safetensors(file));
  check_truncations(parse_safetensors, plain);
  add_checksums(file);
  const std::string summed = as_text(serialize_safetensors(file));
  check_truncations(parse_safetensors, summed);
  CHECK(fuzz(parse_safetensors, plain, 2000, 1) > 1000);
  CHECK(fuzz(parse_safetensors, summed, 2000, 2) > 1500);
}

TEST_CASE("safetensors: a flipped bit of the data is found by its checksum") {
  TensorFile file = every_type();
  add_checksums(file);
  const std::string good = as_text(serialize_safetensors(file));
  for (size_t at = good.size() - 60; at < good.size(); ++at) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 4);
    CHECK(refusal(parse_safetensors, bad).find("checksum") != std::string::npos);
  }
}

TEST_CASE("safetensors: the Python package opens what we write") {
  if (std::system("python3 -c 'import safetensors, numpy' 2>/dev/null") != 0) {
    std::printf("skipped: python3 has no safetensors package\n");
    return;
  }
  const TemporaryFolder folder;
  TensorFile file = every_type();
  file.tensors.pop_back();  // numpy has no bf16
  add_checksums(file);
  write_safetensors(folder / "a.safetensors", file);
  write_text(folder / "check.py", R"(
import sys, safetensors, safetensors.numpy
path = sys.argv[1]
tensors = safetensors.numpy.load_file(path)
with safetensors.safe_open(path, 'np') as f: metadata = f.metadata()
assert tensors['layer.weight'].tolist() == [[0, 1.5, -2], [3, 4, 5]]
assert tensors['scalar'].shape == () and tensors['scalar'] == 7
assert tensors['long'].tolist() == [-1, 1 << 40]
assert tensors['bytes'].tolist() == [0, 128, 255] and tensors['empty'].shape == (0, 5)
assert tensors['s8'].tolist() == [-8] and tensors['s16'].shape == (1,) * 5 and tensors['s32'].tolist() == [-70000]
assert len(tensors) == 8 and metadata['note'] == 'two\nlines' and len(metadata['crc32c']) > 8
)");
  CHECK(std::system(("python3 " + folder / "check.py" + " " + folder / "a.safetensors").c_str()) == 0);
}
