#include "core/io/pth.h"

#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/io/half.h"
#include "core/io/pickle.h"
#include "core/io/zip.h"

namespace apotnet {
namespace {

using Kind = PickleValue::Kind;
using Storages = std::map<std::string, std::span<const std::byte>>;  // raw bytes by key

constexpr std::string_view kLegacyMagic{"\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", 10};  // 0x1950a86a20f9469cfc6c
constexpr int64_t kLegacyProtocol = 1001;

template <typename... Parts>
[[noreturn]] void damaged(const std::string& path, const Parts&... parts) {
  fail(ErrorCategory::damaged_data, path, ": ", parts...);
}

// Every storage that the pickles mention must have one element count and type wherever it is mentioned.
std::map<std::string, const PickleValue*> mentioned_storages(const PickleValues& values, const std::string& path) {
  std::map<std::string, const PickleValue*> mentioned;
  for (const PickleValue& value : values) {
    if (value.kind != Kind::storage) continue;
    const auto [entry, is_new] = mentioned.emplace(value.string, &value);
    const PickleValue& first = *entry->second;
    if (!is_new && (first.integer != value.integer || first.dtype != value.dtype || first.encoding != value.encoding))
      damaged(path, "storage ", value.string, " is described in two different ways");
  }
  return mentioned;
}

const PickleValue& read_legacy(std::span<const std::byte> bytes, PickleValues& values, Storages& storages,
                               const std::string& path) {
  const size_t file_bytes = bytes.size();
  const auto next = [&]() -> const PickleValue& { return read_pickle(bytes, values, file_bytes, path); };
  if (next().string != kLegacyMagic) damaged(path, "is no PyTorch checkpoint: the magic number is missing");
  if (const PickleValue& protocol = next(); protocol.kind != Kind::integer || protocol.integer != kLegacyProtocol)
    damaged(path, "PyTorch stream protocol ", protocol.integer, "; only ", kLegacyProtocol, " is known");
  if (const PickleValue* order = next().find("little_endian"); order && order->integer == 0)
    damaged(path, "was written on a big-endian machine, which is not read");
  const PickleValue& root = next();
  const PickleValue& keys = next();
  const auto mentioned = mentioned_storages(values, path);
  if (keys.kind != Kind::list) damaged(path, "the list of storages is missing");
  for (const PickleValue* key : keys.items) {
    const auto found = mentioned.find(key->string);
    if (key->kind != Kind::string || found == mentioned.end())
      damaged(path, "a storage that no tensor uses: ", key->string);
    const PickleValue& storage = *found->second;
    int64_t count = 0;
    if (bytes.size() < 8) damaged(path, "storage ", key->string, " is cut off");
    std::memcpy(&count, bytes.data(), 8);
    bytes = bytes.subspan(8);
    if (count != storage.integer)
      damaged(path, "storage ", key->string, " has ", count, " elements, its description says ", storage.integer);
    if (static_cast<uint64_t>(count) > bytes.size() / storage.item_bytes())
      damaged(path, "storage ", key->string, " is cut off");
    const size_t size = static_cast<size_t>(count) * storage.item_bytes();
    if (!storages.emplace(key->string, bytes.first(size)).second)
      damaged(path, "storage ", key->string, " stands twice");
    bytes = bytes.subspan(size);
  }
  if (!bytes.empty()) damaged(path, bytes.size(), " bytes at the end belong to nothing");
  for (const auto& [key, storage] : mentioned)
    if (!storages.contains(key)) damaged(path, "storage ", key, " is missing");
  return root;
}

const PickleValue& read_zip(std::span<const std::byte> bytes, PickleValues& values, Storages& storages,
                            const std::string& path) {
  const auto entries = read_stored_zip(bytes, path);
  std::string folder;
  for (const auto& [name, content] : entries)
    if (name.ends_with("/data.pkl")) folder = name.substr(0, name.size() - 8);
  if (folder.empty()) damaged(path, "is a zip archive without data.pkl: no PyTorch checkpoint");
  if (const auto order = entries.find(folder + "byteorder"); order != entries.end()) {
    const std::string_view text(reinterpret_cast<const char*>(order->second.data()), order->second.size());
    if (text != "little") damaged(path, "its byte order is ", text.substr(0, 20), "; only little is read");
  }
  auto pickle = entries.at(folder + "data.pkl");
  const PickleValue& root = read_pickle(pickle, values, bytes.size(), path);
  if (!pickle.empty()) damaged(path, pickle.size(), " bytes of data.pkl are left over");
  for (const auto& [key, storage] : mentioned_storages(values, path)) {
    const auto entry = entries.find(folder + "data/" + key);
    if (entry == entries.end()) damaged(path, "storage ", key, " is missing");
    if (static_cast<uint64_t>(storage->integer) != entry->second.size() / storage->item_bytes() ||
        entry->second.size() % storage->item_bytes() != 0)
      damaged(path, "storage ", key, " has ", entry->second.size(), " bytes, its description says ", storage->integer,
              " elements of ", storage->item_bytes());
    storages.emplace(key, entry->second);
  }
  return root;
}

struct View {
  std::vector<int64_t> sizes, strides;
  int64_t offset;
};

// The sizes and strides of a tensor, once they are known to stay inside its storage of `count` elements.
View checked_view(const PickleValue& tensor, int64_t count, const std::string& name, const std::string& path) {
  View view{{}, {}, tensor.integer};
  for (const PickleValue* size : tensor.items[1]->items) view.sizes.push_back(size->integer);
  for (const PickleValue* stride : tensor.items[2]->items) view.strides.push_back(stride->integer);
  if (view.sizes.size() > Shape::kMaxRank)
    damaged(path, "tensor ", name, " has more than ", Shape::kMaxRank, " dimensions");
  int64_t elements = 1, last = view.offset;
  for (size_t i = 0; i < view.sizes.size(); ++i) {
    const int64_t size = view.sizes[i], stride = view.strides[i];
    if (size < 0 || stride < 0) damaged(path, "tensor ", name, " has a negative size or stride");
    if (size != 0 && elements > count / size) damaged(path, "tensor ", name, " has more elements than its storage");
    elements *= size;
    // Every step is checked on its own, so nothing can overflow.
    if (size > 1 && (stride > count || (size - 1) > count / std::max<int64_t>(stride, 1)))
      damaged(path, "tensor ", name, " reaches outside its storage");
    last += size > 1 ? (size - 1) * stride : 0;
  }
  if (view.offset < 0 || view.offset > count || (elements > 0 && last >= count))
    damaged(path, "tensor ", name, " reaches outside its storage");
  return view;
}

// Copies a strided tensor, elements of `item` bytes, to a dense one.
void gather(const View& view, size_t dimension, int64_t offset, size_t item, const std::byte* from, std::byte*& to) {
  if (dimension == view.sizes.size()) {
    std::memcpy(to, from + static_cast<size_t>(offset) * item, item);
    to += item;
    return;
  }
  for (int64_t i = 0; i < view.sizes[dimension]; ++i)
    gather(view, dimension + 1, offset + i * view.strides[dimension], item, from, to);
}

Tensor make_tensor(const PickleValue& value, const Storages& storages, const std::string& name,
                   const std::string& path) {
  const PickleValue& storage = *value.items[0];
  const View view = checked_view(value, storage.integer, name, path);
  const Shape shape(view.sizes);
  const size_t item = storage.item_bytes();
  std::vector<std::byte> dense(static_cast<size_t>(shape.elements()) * item);
  std::byte* to = dense.data();
  gather(view, 0, view.offset, item, storages.at(storage.string).data(), to);
  Tensor tensor(shape, storage.dtype);
  if (storage.encoding == PickleValue::Encoding::half)
    half_to_float(dense, tensor.data<float>());
  else if (storage.encoding == PickleValue::Encoding::bfloat16)
    bfloat16_to_float(dense, tensor.data<float>());
  else
    tensor.copy_from(dense);
  return tensor;
}

bool has_tensors(const PickleValue& dict) {
  for (size_t i = 1; i < dict.items.size(); i += 2)
    if (dict.items[i]->kind == Kind::tensor) return dict.kind == Kind::dict;
  return false;
}

const PickleValue& find_state_dict(const PickleValue& root, const std::string& path) {
  for (const char* key : {"state_dict", "model_state_dict", "model", "net"})
    if (const PickleValue* entry = root.find(key); entry && has_tensors(*entry)) return *entry;
  if (has_tensors(root)) return root;
  damaged(path, "holds no state dict: expected tensors under \"state_dict\" or at the root");
}

std::string without_module(const std::string& name) { return name.starts_with("module.") ? name.substr(7) : name; }

}  // namespace

bool looks_like_pth_zip(std::span<const std::byte> bytes) {
  return bytes.size() >= 4 && std::memcmp(bytes.data(), "PK\x03\x04", 4) == 0;
}

bool looks_like_pth_legacy(std::span<const std::byte> bytes) {
  return bytes.size() >= 4 && std::memcmp(bytes.data(), "\x80\x02\x8a\x0a", 4) == 0;
}

TensorFile parse_pth(std::span<const std::byte> bytes, const std::string& path) {
  PickleValues values;
  Storages storages;
  const PickleValue& root =
      looks_like_pth_zip(bytes) ? read_zip(bytes, values, storages, path) : read_legacy(bytes, values, storages, path);
  const PickleValue& state = find_state_dict(root, path);
  TensorFile file;
  for (size_t i = 0; i + 1 < state.items.size(); i += 2) {
    const PickleValue &key = *state.items[i], &value = *state.items[i + 1];
    if (value.kind != Kind::tensor) continue;
    if (key.kind != Kind::string) damaged(path, "a tensor whose name is no string");
    const std::string name = without_module(key.string);
    if (file.find(name)) damaged(path, "tensor ", name, " stands twice");
    file.tensors.push_back({name, make_tensor(value, storages, name, path)});
  }
  for (size_t i = 0; i + 1 < root.items.size() && root.kind == Kind::dict; i += 2) {
    const PickleValue &key = *root.items[i], &value = *root.items[i + 1];
    if (key.kind != Kind::string) continue;
    if (value.kind == Kind::integer || value.kind == Kind::boolean) file.metadata[key.string] = text(value.integer);
    if (value.kind == Kind::real) file.metadata[key.string] = text(value.real);
    if (value.kind == Kind::string) file.metadata[key.string] = value.string;
  }
  return file;
}

}  // namespace apotnet
