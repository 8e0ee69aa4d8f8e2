#include "core/io/pth.h"

#include <doctest/doctest.h>

#include "core/base/philox.h"
#include "tests/support/pth_writer.h"
#include "tests/support/refused_file.h"
#include "tests/support/test_data.h"

using namespace apotnet;
using namespace apotnet::test::pickle;
using test::check_refused;
using test::Malformation;
using test::PthParts;

namespace {

constexpr float kValues[6] = {0.5f, 1.5f, 2.5f, 3.5f, 4.5f, 5.5f};

TensorFile parse(const std::string& bytes) { return parse_pth(std::as_bytes(std::span(bytes)), "file"); }

// A good file with one part changed.
PthParts changed(void (*change)(PthParts&)) {
  PthParts parts;
  change(parts);
  return parts;
}

// A tensor of storage "0" (6 floats) that must be refused, in both forms.
void add_tensor_rows(std::vector<Malformation>& rows, const std::string& name, const std::string& tensor,
                     const std::string& fragment) {
  rows.push_back({"legacy: " + name, PthParts::with_tensor(tensor).legacy(), fragment});
  rows.push_back({"zip: " + name, PthParts::with_tensor(tensor).zip(), fragment});
}

std::string view(int32_t offset, std::initializer_list<int32_t> sizes, std::initializer_list<int32_t> strides) {
  std::string size_items, stride_items;
  for (const int32_t size : sizes) size_items += integer(size);
  for (const int32_t stride : strides) stride_items += integer(stride);
  return tensor(storage("0", 6), offset, size_items, stride_items);
}

}  // namespace

TEST_CASE("a small checkpoint reads alike in the legacy and the zip form") {
  for (const std::string& bytes : {PthParts().legacy(), PthParts().zip()}) {
    const TensorFile file = parse(bytes);
    REQUIRE(file.tensors.size() == 1);
    CHECK(file.tensors[0].name == "w");  // without module.
    CHECK(file.tensors[0].tensor.shape() == Shape{2, 3});
    CHECK(std::ranges::equal(file.tensors[0].tensor.data<float>(), kValues));
    CHECK(file.metadata.at("epoch") == "7");
  }
}

TEST_CASE("files written by PyTorch itself: strides, parameters, scalars, half, bfloat16, bool") {
  for (const char* name : {"pytorch_zip.pth", "pytorch_legacy.pth"}) {
    CAPTURE(name);
    const TensorFile file = read_checkpoint_file(test::golden_folder() / name);
    const auto at = [&](const char* tensor) -> const Tensor& { return *file.find(tensor); };
    REQUIRE(file.tensors.size() == 7);
    CHECK(at("conv.weight").shape() == Shape{2, 3, 3, 3});  // channels_last in the file
    for (size_t i = 0; i < 54; ++i) CHECK(at("conv.weight").data<float>()[i] == static_cast<float>(i) / 7);
    for (size_t i = 0; i < 5; ++i) CHECK(at("scale").data<float>()[i] == static_cast<float>(i) / 7);
    CHECK(at("count").shape() == Shape{});
    CHECK(at("count").data<int64_t>()[0] == 42);
    for (size_t i = 0; i < 6; ++i)
      CHECK(at("half").data<float>()[i] == doctest::Approx(static_cast<double>(i) / 7).epsilon(1e-3));
    for (size_t row = 0; row < 3; ++row)
      for (size_t column = 0; column < 2; ++column)
        CHECK(at("transposed").data<double>()[row * 2 + column] ==
              doctest::Approx(static_cast<double>(column * 3 + row) / 7).epsilon(1e-7));
    CHECK(at("mask").data<uint8_t>()[1] == 0);
    CHECK(at("mask").data<uint8_t>()[2] == 1);
    CHECK(at("brain").data<float>()[3] == 0.375f);
    CHECK(file.metadata.at("epoch") == "3");
    CHECK(file.metadata.at("best_prec") == "92.5");
    CHECK(file.metadata.at("arch") == "tiny");
  }
}

TEST_CASE("the authors' checkpoint: 168 tensors under plain names") {
  const auto path = test::reference_file("resnet20_3bit.pth.tar");
  SKIP_WITHOUT(path);
  const TensorFile file = read_checkpoint_file(path);
  CHECK(file.tensors.size() == 168);
  CHECK(file.tensors[0].name == "conv1.weight");
  CHECK(file.find("layer1.0.conv1.weight_quant.wgt_alpha")->elements() == 1);
  CHECK(file.metadata.at("epoch") == "288");
}

TEST_CASE("malformed pickles are refused by name in both forms") {
  std::vector<Malformation> rows;
  const auto root = [&](const std::string& name, const std::string& value, const std::string& fragment) {
    PthParts parts;
    parts.root = value;
    rows.push_back({"legacy: " + name, parts.legacy(), fragment});
    rows.push_back({"zip: " + name, parts.zip(), fragment});
  };
  root("a call of os.system", global("posix", "system") + tuple(unicode("true")) + "R", "refuses to load posix.system");
  root("a builtin", global("__builtin__", "eval") + tuple(unicode("1")) + "R", "__builtin__.eval");
  root("an unknown opcode", "\x93", "unknown pickle opcode");
  root("an old text opcode", "I1\n", "unknown pickle opcode");
  root("a value from an empty stack", "a", "empty stack");
  root("a mark that is missing", "t", "mark is missing");
  root("two results", "NN", "instead of one");
  root("a memo entry never stored", "h\x05", "never memorised");
  root("a dict entry without a value", "}(" + unicode("x") + "u", "without a value");
  root("a string longer than the file", "X\xff\xff\xff\x7f", "cut off");
  root("marks without end", std::string(100, '('), "nested more than 64");
  root("an append to a tuple", ")Na", "expected a list");
  root("a storage of an unknown kind",
       tuple(unicode("storage") + unicode("FloatStorage") + unicode("0") + "NK\x06") + "Q",
       "other than a tensor's storage");
  root("a call of a storage type", global("torch", "FloatStorage") + ")R", "is no function");
  root("a tensor without sizes", global("torch._utils", "_rebuild_tensor_v2") + tuple(storage("0", 6)) + "R",
       "without storage, offset, sizes");
  root("one storage described twice",
       dict(unicode("a") + view(0, {6}, {1}) + unicode("b") + tensor(storage("0", 7), 0, integer(1), integer(1))),
       "two different ways");
  root("one name twice", dict(unicode("w") + view(0, {6}, {1}) + unicode("module.w") + view(0, {6}, {1})),
       "stands twice");
  PthParts parts;  // zip only: the legacy form names the storage that nobody uses first
  parts.root = dict(unicode("epoch") + integer(1));
  rows.push_back({"zip: no tensors at all", parts.zip(), "holds no state dict"});
  parts.root = integer(5);
  rows.push_back({"zip: a root that is a number", parts.zip(), "holds no state dict"});
  for (const Malformation& row : rows) check_refused(row);
}

TEST_CASE("tensors that leave their storage are refused in both forms") {
  std::vector<Malformation> rows;
  add_tensor_rows(rows, "more elements than the storage", view(0, {7}, {1}), "more elements than its storage");
  add_tensor_rows(rows, "an offset behind the end", view(5, {2}, {1}), "outside its storage");
  add_tensor_rows(rows, "a negative offset", view(-1, {2}, {1}), "outside its storage");
  add_tensor_rows(rows, "a stride that jumps out", view(0, {2, 2}, {5, 1}), "outside its storage");
  add_tensor_rows(rows, "a negative stride", view(5, {6}, {-1}), "negative size or stride");
  add_tensor_rows(rows, "a negative size", view(0, {-6}, {1}), "negative size or stride");
  add_tensor_rows(rows, "a huge expanded tensor", view(0, {1 << 30, 1 << 30}, {0, 0}),
                  "more elements than its storage");
  add_tensor_rows(rows, "a stride near 2^31", view(0, {3}, {0x7fffffff}), "outside its storage");
  add_tensor_rows(rows, "six dimensions", view(0, {1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1}), "more than 5 dimensions");
  add_tensor_rows(rows, "sizes and strides of different length", view(0, {2, 3}, {1}),
                  "without storage, offset, sizes");
  for (const Malformation& row : rows) check_refused(row);
}

TEST_CASE("malformed legacy streams are refused by name") {
  const auto legacy = [](void (*change)(PthParts&)) { return changed(change).legacy(); };
  for (const Malformation& row : {
           Malformation{"another magic number", legacy([](PthParts& p) { p.magic[4] ^= 1; }), "magic number"},
           {"another protocol", legacy([](PthParts& p) { p.protocol = "M\xea\x03"; }), "only 1001 is known"},
           {"a big-endian machine", legacy([](PthParts& p) { p.system = dict(unicode("little_endian") + "\x89"); }),
            "big-endian"},
           {"keys that are no list", legacy([](PthParts& p) { p.keys = unicode("0"); }), "list of storages is missing"},
           {"a storage that no tensor uses", legacy([](PthParts& p) { p.keys = list(unicode("9")); }),
            "no tensor uses"},
           {"a storage twice", legacy([](PthParts& p) { p.keys = list(unicode("0") + unicode("0")); }), "storage 0"},
           {"no storage", legacy([](PthParts& p) { p.keys = "]"; }), "belong to nothing"},
           {"a wrong element count", legacy([](PthParts& p) { p.count = 5; }), "has 5 elements"},
           {"a negative element count", legacy([](PthParts& p) { p.count = -1; }), "has -1 elements"},
           {"data cut off", legacy([](PthParts& p) { p.data.resize(23); }), "cut off"},
           {"bytes at the end", legacy([](PthParts& p) { p.trailing = "x"; }), "1 bytes at the end"},
           {"only the first pickle", document(PthParts().magic), "cut off"},
       })
    check_refused(row);
}

TEST_CASE("malformed zip archives are refused by name") {
  const auto zip = [](void (*change)(PthParts&)) { return changed(change).zip(); };
  const std::string good = PthParts().zip();
  const auto with_byte = [&](size_t from_end, char value) {
    std::string bytes = good;
    bytes[bytes.size() - from_end] = value;
    return bytes;
  };
  for (const Malformation& row : {
           Malformation{"compressed entries", zip([](PthParts& p) { p.method = 8; }), "compressed"},
           {"encrypted entries", zip([](PthParts& p) { p.flags = 1; }), "encrypted"},
           {"a wrong checksum", zip([](PthParts& p) { p.wrong_crc = true; }), "CRC-32"},
           {"big-endian data", zip([](PthParts& p) { p.byteorder = "big"; }), "only little"},
           {"a storage that is missing", zip([](PthParts& p) { p.data_name = "data/1"; }), "storage 0 is missing"},
           {"a storage that is too short", zip([](PthParts& p) { p.data.resize(20); }), "20 bytes"},
           {"a storage of broken elements", zip([](PthParts& p) { p.data.resize(25); }), "25 bytes"},
           {"an entry twice", zip([](PthParts& p) { p.data_name = "version"; }), "stands twice"},
           {"bytes behind the end", zip([](PthParts& p) { p.trailing = "x"; }), "without its end"},
           {"no end record", good.substr(0, good.size() - 22), "without its end"},
           {"more entries than the directory", with_byte(12, 5), "directory"},
           {"a directory elsewhere", with_byte(6, '\x01'), "directory"},
           {"a directory of another size", with_byte(10, '\x01'), "directory"},
           {"a first entry that is damaged", std::string("PK\x03\x04", 4) + std::string(60, '\0') + good.substr(64),
            "zip entry"},
           {"only a zip signature", std::string("PK\x03\x04 and then nothing"), "without its end"},
       })
    check_refused(row);
}

TEST_CASE("a checkpoint cut off anywhere is refused or whole, never a crash") {
  for (const std::string& bytes : {PthParts().legacy(), PthParts().zip()})
    for (size_t size = 0; size < bytes.size(); ++size) test::check_survived(bytes.substr(0, size));
}

TEST_CASE("checkpoints with random bytes changed are refused or read, never a crash") {
  Philox random(5, RandomStream::test);
  for (const std::string& bytes : {PthParts().legacy(), PthParts().zip()})
    for (int round = 0; round < 1500; ++round) {
      std::string mutated = bytes;
      for (uint32_t change = 0; change <= random.below(3); ++change)
        mutated[random.below(static_cast<uint32_t>(mutated.size()))] = static_cast<char>(random.below(256));
      test::check_survived(mutated);
    }
}
