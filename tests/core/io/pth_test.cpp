#include "core/io/pth.h"

#include <doctest/doctest.h>

#include <cmath>

#include "core/base/error.h"
#include "core/io/checkpoint_file.h"
#include "core/io/safetensors.h"
#include "tests/support/damage.h"
#include "tests/support/pth_writer.h"
#include "tests/support/test_data.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

std::string floats(int count) {
  std::string bytes;
  for (int i = 0; i < count; ++i) bytes += raw(static_cast<float>(i));
  return bytes;
}

const std::vector<StorageBytes> kSixFloats{{"7", 6, floats(6)}};

// Pickles: a tensor of storage "7", and a root with one tensor.
std::string view(int64_t offset, const std::vector<int64_t>& sizes, const std::vector<int64_t>& strides) {
  return pickle::tensor(pickle::storage("7", "FloatStorage", 6), offset, sizes, strides);
}
std::string with_weight(const std::string& value) {
  return pickle::dict(pickle::text("state_dict") + pickle::ordered_dict(pickle::text("w") + value));
}
std::string good_root() { return with_weight(view(0, {2, 3}, {3, 1})); }

LegacyFile legacy_file() {
  LegacyFile file;
  file.root = good_root();
  file.storages = kSixFloats;
  return file;
}
std::string legacy_of(const std::string& root) {
  LegacyFile file = legacy_file();
  file.root = root;
  return file.bytes();
}
std::string legacy_with(const std::function<void(LegacyFile&)>& change) {
  LegacyFile file = legacy_file();
  change(file);
  return file.bytes();
}
std::string zip_with(const std::function<void(ZipFile&)>& change) {
  ZipFile file = pth_zip(good_root(), kSixFloats);
  change(file);
  return file.bytes();
}

TensorFile parse(const std::string& content) { return parse_pth(to_bytes(content), "some.file"); }

template <typename T>
std::vector<T> elements(const TensorFile& file, const std::string& name) {
  const Tensor* tensor = file.find(name);
  REQUIRE(tensor);
  const auto data = tensor->data<T>();
  return {data.begin(), data.end()};
}

std::string repeated(int count, const std::string& part) {
  std::string result;
  for (int i = 0; i < count; ++i) result += part;
  return result;
}

// Damage of the object pickle; both forms must refuse it in the same words.
std::vector<Damage> damaged_opcodes() {
  return {
      {"runs a command", pickle::global("os", "system") + pickle::tuple(pickle::text("true")) + "R", "\"os.system\""},
      {"evaluates", pickle::global("builtins", "eval"), "refuses to load \"builtins.eval\""},
      {"another class of torch", pickle::global("torch._utils", "_rebuild_qtensor"), "_rebuild_qtensor"},
      {"unknown storage type", pickle::global("torch", "QInt8Storage"), "torch.QInt8Storage"},
      {"control characters in a name", pickle::global("o\x1b[s", "x"), "\"o\\x1b[s.x\""},
      {"a name without end", std::string("c") + std::string(5000, 'a'), "a name of over 200 characters"},
      {"unknown opcode", "\x93", "unknown pickle opcode 0x93"},
      {"opcode of instances", "(i", "unknown pickle opcode 0x69"},
      {"builds an object from a tensor", with_weight(view(0, {6}, {1}) + "}b"), "expected an OrderedDict"},
      {"builds an object from a dict", "}}b", "attributes for something other than an OrderedDict"},
      {"memo never written", "h\x05", "recalls entry 5"},
      {"memo of an empty stack", "q\x01", "memorises nothing"},
      {"stack empty", "a", "from an empty stack"},
      {"tuple of too few", "N\x87", "from an empty stack"},
      {"takes through a mark", "](Na", "expected a list"},
      {"mark missing", "]e", "mark is missing"},
      {"two values left", "NN", "ends with 2 values"},
      {"mark left", "N(", "1 marks"},
      {"nothing left", "", "ends with 0 values"},
      {"odd dict", "}(NNNu", "entry without a value"},
      {"appends to a tuple", ")Na", "expected a list"},
      {"sets an item of a list", "]NNs", "expected a dict"},
      {"marks nested", std::string(65, '('), "marks nested more than 64 deep"},
      {"values nested", std::string("N") + repeated(65, "\x85"), "nested more than 64 deep"},
      {"lists nested", repeated(65, "]") + repeated(64, "a"), "nested more than 64 deep"},
      {"text not UTF-8", pickle::text("\xFF\n"), "\"\\xff\\x0a\" is not UTF-8"},
      {"text longer than the file", std::string("X") + raw(~uint32_t{0}), "cut off"},
      {"protocol 0", std::string("\x80") + std::string(1, '\0'), "protocol 0"},
  };
}

std::vector<Damage> damaged_calls() {
  const auto id = [](const std::string& items) { return with_weight(pickle::tuple(items) + "Q"); };
  return {
      {"calls a number", pickle::integer(1) + ")R", "no known class"},
      {"calls a storage type", pickle::global("torch", "FloatStorage") + ")R", "no function"},
      {"calls without a tuple", pickle::global("collections", "OrderedDict") + "NR", "no known class"},
      {"OrderedDict of numbers", pickle::global("collections", "OrderedDict") + pickle::integers({1}) + "R",
       "other than pairs"},
      {"OrderedDict of triples",
       pickle::global("collections", "OrderedDict") + pickle::tuple(pickle::list(pickle::integers({1, 2, 3}))) + "R",
       "other than pairs"},
      {"copies of copies",
       pickle::list(std::string("N") + repeated(500, "NN\x86")).substr(0, 2) + repeated(500, "NN\x86") + "eq\x01" +
           repeated(40, pickle::global("collections", "OrderedDict") + "h\x01\x85R"),
       "too many values"},
      {"parameter of nothing", pickle::global("torch._utils", "_rebuild_parameter") + pickle::tuple("NNN") + "R",
       "parameter without a tensor"},
      {"reference to a module", id(pickle::text("module") + "NNNN"), "other than a tensor's storage"},
      {"reference without a type",
       id(pickle::text("storage") + pickle::text("7") + pickle::text("7") + "N" + pickle::integer(6)),
       "other than a tensor's storage"},
      {"reference of a class that is no storage",
       id(pickle::text("storage") + pickle::global("collections", "OrderedDict") + pickle::text("7") + "N" +
          pickle::integer(6)),
       "other than a tensor's storage"},
  };
}

std::vector<Damage> damaged_tensors() {
  const auto call = [](const std::string& arguments) {
    return with_weight(pickle::global("torch._utils", "_rebuild_tensor_v2") + pickle::tuple(arguments) + "R");
  };
  const std::string storage = pickle::storage("7", "FloatStorage", 6);
  return {
      {"storage of -1 elements", with_weight(pickle::storage("7", "FloatStorage", -1)), "storage of -1 elements"},
      {"storage of 2^62 elements",
       with_weight(pickle::tensor(pickle::storage("7", "FloatStorage", int64_t{1} << 62), 0, {6}, {1})),
       "its description says 4611686018427387904"},
      {"storage described twice", with_weight(pickle::tuple(view(0, {6}, {1}) + pickle::storage("7", "IntStorage", 6))),
       "two different ways"},
      {"storage missing", with_weight(pickle::tuple(view(0, {6}, {1}) + pickle::storage("8", "FloatStorage", 6))),
       "\"8\" is missing"},
      {"storage no tensor names", pickle::dict(pickle::text("a") + "N"), "no tensor names"},
      {"tensor without arguments", call(""), "without storage, offset"},
      {"tensor of a text", call(pickle::text("7") + pickle::integer(0) + pickle::integers({6}) + pickle::integers({1})),
       "without storage, offset"},
      {"more sizes than strides", with_weight(view(0, {2, 3}, {1})), "more sizes than strides"},
      {"size is a fraction",
       call(storage + pickle::integer(0) + pickle::tuple(pickle::real(6)) + pickle::integers({1})),
       "no 64-bit integer"},
      {"size of 72 bits",
       call(storage + pickle::integer(0) + pickle::tuple(std::string("\x8a\x09") + "123456789") +
            pickle::integers({1})),
       "no 64-bit integer"},
      {"six dimensions", with_weight(view(0, {1, 1, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1})), "more than 5 dimensions"},
      {"negative size", with_weight(view(0, {-1}, {1})), "negative size or stride"},
      {"negative stride", with_weight(view(5, {6}, {-1})), "negative size or stride"},
      {"negative offset", with_weight(view(-1, {6}, {1})), "\"w\" reaches outside its storage"},
      {"offset behind the storage", with_weight(view(7, {0}, {1})), "reaches outside"},
      {"last element outside", with_weight(view(1, {6}, {1})), "reaches outside"},
      {"stride outside", with_weight(view(0, {2, 3}, {4, 1})), "reaches outside"},
      {"stride overflows", with_weight(view(0, {3}, {int64_t{1} << 62})), "reaches outside"},
      {"stride wraps to fit", with_weight(view(0, {3, 2}, {int64_t{1} << 62, int64_t{1} << 62})), "reaches outside"},
      {"expanded by stride 0", with_weight(view(0, {7}, {0})), "more elements than its storage"},
      {"sizes overflow", with_weight(view(0, {int64_t{1} << 32, int64_t{1} << 32}, {0, 0})),
       "more elements than its storage"},
      {"two tensors of a name",
       pickle::dict(pickle::text("w") + view(0, {6}, {1}) + pickle::text("module.w") + view(0, {6}, {1})),
       "\"w\" stands twice"},
      {"tensor under a number", pickle::dict(pickle::integer(1) + view(0, {6}, {1})), "name is no text"},
      {"no tensors", pickle::dict(pickle::text("state_dict") + pickle::tuple(storage)), "holds no state dict"},
      {"a tensor alone", view(0, {6}, {1}), "holds no state dict"},
  };
}

}  // namespace

TEST_CASE("pth: checkpoints written by PyTorch, legacy and zip, hold the same values") {
  for (const char* name : {"pytorch_legacy.pth", "pytorch_zip.pth"}) {
    CAPTURE(name);
    const TensorFile file = read_checkpoint_file((golden_folder() / name).string());
    CHECK(file.metadata == std::map<std::string, std::string>{{"epoch", "3"}, {"best_prec", "91.25"}});
    REQUIRE(file.tensors.size() == 8);
    CHECK(file.tensors[0].name == "conv.weight");
    CHECK(file.find("conv.weight")->shape() == Shape{4, 3, 2, 5});  // stored channels_last
    const auto conv = elements<float>(file, "conv.weight");
    for (size_t i = 0; i < conv.size(); ++i) CHECK(conv[i] == static_cast<float>(i) / 7);
    CHECK(file.find("fc.weight")->shape() == Shape{2, 3});
    const auto fc = elements<float>(file, "fc.weight");
    for (size_t i = 0; i < fc.size(); ++i) CHECK(fc[i] == static_cast<float>(i) / 7);
    CHECK(file.find("bn.num_batches_tracked")->shape() == Shape{});
    CHECK(elements<int64_t>(file, "bn.num_batches_tracked")[0] == 12345678901);
    const auto half = elements<float>(file, "half");
    for (size_t i = 0; i < half.size(); ++i) CHECK(std::abs(half[i] - static_cast<float>(i) / 7) <= 0x1p-11f);
    const auto bfloat = elements<float>(file, "bfloat");
    for (size_t i = 0; i < bfloat.size(); ++i) CHECK(std::abs(bfloat[i] - static_cast<float>(i) / 7) <= 0x1p-9f);
    // arange(12) / 7 as [3, 4], transposed, rows 1 and 2
    CHECK(elements<double>(file, "view") == std::vector<double>{1 / 7., 5 / 7., 9 / 7., 2 / 7., 6 / 7., 10 / 7.});
    CHECK(elements<uint8_t>(file, "mask") == std::vector<uint8_t>{1, 0, 1});
    CHECK(elements<int8_t>(file, "bytes") == std::vector<int8_t>{-3, -2, -1, 0, 1, 2, 3});
  }
}

TEST_CASE("pth: the authors' checkpoint") {
  const auto path = reference_file("resnet20_3bit.pth.tar");
  SKIP_WITHOUT(path);
  const TensorFile file = read_checkpoint_file(path.string());
  CHECK(file.tensors.size() == 168);
  CHECK(file.metadata == std::map<std::string, std::string>{{"epoch", "288"}, {"best_prec", "92.51"}});
  CHECK(file.find("conv1.weight")->shape() == Shape{16, 3, 3, 3});
  CHECK(file.find("layer1.0.conv1.act_alpha")->shape() == Shape{});
  for (const NamedTensor& entry : file.tensors)
    if (entry.tensor.dtype() == DType::f32)
      for (const float value : entry.tensor.data<float>()) REQUIRE(std::isfinite(value));
}

TEST_CASE("pth: state dicts are found wherever they usually are") {
  const std::string weight = pickle::text("module.w") + view(0, {2, 3}, {1, 2});
  for (const char* key : {"state_dict", "model_state_dict", "model", "net"}) {
    CAPTURE(key);
    const std::string root =
        pickle::dict(pickle::text("lr") + pickle::real(0.1) + pickle::text("name") + pickle::text("x") +
                     pickle::text("nesterov") + "\x88" + pickle::text(key) + pickle::ordered_dict(weight));
    for (const std::string& content : {legacy_of(root), pth_zip(root, kSixFloats).bytes()}) {
      const TensorFile file = parse(content);
      CHECK(elements<float>(file, "w") == std::vector<float>{0, 2, 4, 1, 3, 5});
      CHECK(file.metadata == std::map<std::string, std::string>{{"lr", "0.1"}, {"name", "x"}, {"nesterov", "true"}});
    }
  }
  CHECK(parse(legacy_of(pickle::ordered_dict(weight) + "}b")).tensors.size() == 1);
  CHECK(elements<float>(parse(legacy_of(with_weight(view(2, {3}, {1})))), "w") == std::vector<float>{2, 3, 4});
  CHECK(elements<float>(parse(legacy_of(with_weight(view(2, {3}, {0})))), "w") == std::vector<float>{2, 2, 2});
  CHECK(parse(legacy_of(with_weight(view(6, {0, 4}, {4, 1})))).tensors[0].tensor.elements() == 0);
}

TEST_CASE("pth: zip archives with zip64 records and descriptors") {
  const auto none = [](ZipFile&) {};
  const auto zip64 = [](ZipFile& file) { file.zip64 = true; };
  const auto descriptors = [](ZipFile& file) {
    for (ZipEntry& entry : file.entries) entry.descriptor = true;
  };
  for (const std::function<void(ZipFile&)>& change : {std::function<void(ZipFile&)>(none), {zip64}, {descriptors}})
    CHECK(elements<float>(parse(zip_with(change)), "w") == std::vector<float>{0, 1, 2, 3, 4, 5});
}

TEST_CASE("pth: a damaged object pickle is refused in both forms") {
  for (const std::vector<Damage>& damages : {damaged_opcodes(), damaged_calls(), damaged_tensors()}) {
    std::vector<Damage> legacy = damages, zip = damages;
    for (Damage& damage : legacy) damage.content = legacy_of(damage.content);
    for (Damage& damage : zip) damage.content = pth_zip(damage.content, kSixFloats).bytes();
    check_damages(parse_pth, legacy);
    check_damages(parse_pth, zip);
  }
}

TEST_CASE("pth: a damaged legacy stream is refused") {
  check_damages(
      parse_pth,
      {{"empty file", "", "cut off"},
       {"another magic number", legacy_with([](LegacyFile& file) { file.magic[5] = 'x'; }), "magic number is missing"},
       {"magic is a small number", legacy_with([](LegacyFile& file) { file.magic = std::string("K\1"); }),
        "magic number is missing"},
       {"another protocol", legacy_with([](LegacyFile& file) { file.protocol = pickle::integer(1002); }),
        "stream protocol"},
       {"big-endian",
        legacy_with([](LegacyFile& file) { file.system = pickle::dict(pickle::text("little_endian") + "\x89"); }),
        "big-endian"},
       {"byte order missing", legacy_with([](LegacyFile& file) { file.system = std::string("}"); }),
        "does not say its byte order"},
       {"trailing bytes", legacy_file().bytes() + "x", "1 bytes at the end"},
       {"storage cut off", legacy_with([](LegacyFile& file) { file.storages[0].content.pop_back(); }),
        "\"7\" is cut off"},
       {"storage longer", legacy_with([](LegacyFile& file) { file.storages[0].content += "1234"; }),
        "4 bytes at the end"},
       {"another count", legacy_with([](LegacyFile& file) { file.storages[0].count = 5; }),
        "5 elements, its description says 6"},
       {"negative count", legacy_with([](LegacyFile& file) { file.storages[0].count = -1; }), "-1 elements"},
       {"no storages", legacy_with([](LegacyFile& file) { file.storages.clear(); }), "\"7\" is missing"},
       {"storage twice", legacy_with([](LegacyFile& file) { file.storages.push_back(file.storages[0]); }),
        "\"7\" twice"},
       {"another storage", legacy_with([](LegacyFile& file) { file.storages[0].key = std::string("8"); }),
        "no tensor names: \"8\""},
       {"a shared view",
        legacy_of(with_weight(pickle::tuple(pickle::text("storage") + pickle::global("torch", "FloatStorage") +
                                            pickle::text("7") + pickle::text("cpu") + pickle::integer(6) +
                                            pickle::integers({1})) +
                              "Q")),
        "a view of another"}});
}

TEST_CASE("pth: a damaged zip archive is refused") {
  const auto entry = [](size_t index, const std::function<void(ZipEntry&)>& change) {
    return zip_with([&](ZipFile& file) { change(file.entries[index]); });
  };
  check_damages(
      parse_pth,
      {{"trailing bytes", zip_with([](ZipFile& file) { file.behind = std::string("x"); }),
        "does not end with its end record"},
       {"only a header", "PK\x03\x04", "does not end with its end record"},
       {"compressed", entry(2, [](ZipEntry& e) { e.method = 8; }), "\"archive/data/7\" is compressed"},
       {"encrypted", entry(2, [](ZipEntry& e) { e.flags = 1; }), "is encrypted"},
       {"wrong CRC-32", entry(2, [](ZipEntry& e) { e.crc_error = 1; }), "does not match its CRC-32"},
       {"another local name", entry(2, [](ZipEntry& e) { e.local_name = "archive/data/8"; }),
        "another name in its own header"},
       {"size outside the file", entry(3, [](ZipEntry& e) { e.size_error = 1 << 30; }), "cut off"},
       {"size over the next entry", entry(2, [](ZipEntry& e) { e.size_error = 8; }), "CRC-32"},
       {"entry elsewhere", entry(2, [](ZipEntry& e) { e.position_error = 4; }), "belong to nothing"},
       {"entry over another", entry(2, [](ZipEntry& e) { e.position_error = -8; }), "overlaps another"},
       {"first entry elsewhere", entry(0, [](ZipEntry& e) { e.position_error = 2; }), "2 bytes before zip entry"},
       {"name with a line end", entry(1, [](ZipEntry& e) { e.name = "other/\n"; }), "\"other/\\x0a\" is outside"},
       {"entry twice", zip_with([](ZipFile& file) { file.entries.push_back(file.entries[1]); }), "stands twice"},
       {"bytes before the directory", zip_with([](ZipFile& file) { file.between = "junk"; }), "do not meet"},
       {"more entries", zip_with([](ZipFile& file) { file.count_error = 1; }), "directory"},
       {"many more entries", zip_with([](ZipFile& file) { file.count_error = 9999; }), "claims more entries"},
       {"fewer entries", zip_with([](ZipFile& file) { file.count_error = 0xFFFF; }), "belong to no entry"},
       {"directory elsewhere", zip_with([](ZipFile& file) { file.directory_position_error = 4; }),
        "not where its end says"},
       {"zip64 disagrees", zip_with([](ZipFile& file) {
          file.zip64 = true;
          file.zip64_size_error = 1;
        }),
        "two end records disagree"},
       {"zip64 overflows", zip_with([](ZipFile& file) {
          file.zip64 = true;
          file.zip64_size_error = ~uint64_t{0} - 4;
        }),
        "two end records disagree"},
       {"no pickle", entry(0, [](ZipEntry& e) { e.name = "archive/data.pk"; }), "without data.pkl"},
       {"bytes behind the pickle", entry(0, [](ZipEntry& e) { e.content += "x"; }), "1 bytes of data.pkl"},
       {"pickle cut off", entry(0, [](ZipEntry& e) { e.content.pop_back(); }), "cut off"},
       {"big-endian", entry(1, [](ZipEntry& e) { e.content = "big"; }), "byte order \"big\""},
       {"unknown version", entry(3, [](ZipEntry& e) { e.content = "9\n"; }), "version \"9\\x0a\""},
       {"version missing", zip_with([](ZipFile& file) { file.entries.pop_back(); }), "no version"},
       {"storage missing", entry(2, [](ZipEntry& e) { e.name = "archive/data2"; }), "\"7\" is missing"},
       {"storage too short", entry(2, [](ZipEntry& e) { e.content.pop_back(); }), "has 23 bytes"},
       {"storage too long", entry(2, [](ZipEntry& e) { e.content += "1234"; }), "has 28 bytes"},
       {"storage no tensor names", zip_with([](ZipFile& file) {
          file.entries.push_back({"archive/data/8", "x"});
        }),
        "no tensor names"},
       {"a program", zip_with([](ZipFile& file) {
          file.entries.push_back({"archive/constants.pkl", "x"});
        }),
        "TorchScript"}});
}

TEST_CASE("pth: views that repeat a storage cannot fill the memory") {
  const std::vector<StorageBytes> large{{"7", 20000, floats(20000)}};
  const std::string one = pickle::tensor(pickle::storage("7", "FloatStorage", 20000), 0, {20000}, {1});
  std::string state;
  for (int i = 0; i < 100; ++i) state += pickle::text(join("w", std::to_string(i))) + one;
  CHECK(refusal(parse_pth, pth_zip(pickle::dict(state), large).bytes()).find("too often") != std::string::npos);
}

TEST_CASE("pth: a long list does not take more memory than the file") {
  for (const std::string& part : {std::string(200000, 'N'), std::string(200000, ')'), std::string(200000, '}')})
    CHECK(refusal(parse_pth, legacy_of(join("](", part, "e"))) != "");
}

TEST_CASE("pth: every truncation is refused, random damage never crashes") {
  for (const std::string& content : {read_text((golden_folder() / "pytorch_legacy.pth").string()),
                                     read_text((golden_folder() / "pytorch_zip.pth").string()), legacy_file().bytes(),
                                     pth_zip(good_root(), kSixFloats).bytes()}) {
    check_truncations(parse_pth, content);
    CHECK(fuzz(parse_pth, content, 2000, 3) > 400);
  }
}

TEST_CASE("a safetensors state dict loses the prefix module. as a .pth does, and no name may stand twice") {
  const TemporaryFolder folder;
  const Tensor one = Tensor::scalar(1, DType::f32);
  write_safetensors(folder / "a", {{{"module.w", one}, {"module.b", one}}, {}});
  const TensorFile file = read_checkpoint_file(folder / "a");
  CHECK(file.tensors[0].name == "w");
  CHECK(file.tensors[1].name == "b");
  write_safetensors(folder / "b", {{{"module.w", one}, {"w", one}}, {}});
  CHECK_THROWS_AS(read_checkpoint_file(folder / "b"), Error);
}

TEST_CASE("checkpoint files are told by their content") {
  const TemporaryFolder folder;
  const auto read = [&](const std::string& name, const std::string& content) {
    write_text(folder / name, content);
    return read_checkpoint_file(folder / name).tensors.size();
  };
  CHECK(read("a.safetensors", legacy_file().bytes()) == 1);
  CHECK(read("b.pth.tar", pth_zip(good_root(), kSixFloats).bytes()) == 1);
  write_safetensors(folder / "c.pth", parse(legacy_file().bytes()));
  CHECK(read_checkpoint_file(folder / "c.pth").tensors.size() == 1);
  for (const char* other : {"", "hello", "a text longer than the header"}) {
    try {
      read("d", other);
      FAIL("was read");
    } catch (const Error& error) {
      CHECK(error.category() == ErrorCategory::damaged_data);
      CHECK(std::string(error.what()).find("neither") != std::string::npos);
    }
  }
  CHECK_THROWS_AS(read_checkpoint_file(folder / "none"), Error);
}
