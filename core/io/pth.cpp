#include "core/io/pth.h"

#include <cstring>
#include <set>

#include "core/base/digits.h"
#include "core/base/error.h"
#include "core/io/half.h"
#include "core/io/printable.h"
#include "core/io/pth_parts.h"

namespace apotnet {
namespace {

using Kind = PickleValue::Kind;
using Encoding = PickleValue::Encoding;

template <typename... Parts>
[[noreturn]] void damaged(const std::string& path, const Parts&... parts) {
  fail(ErrorCategory::damaged_data, path, ": ", parts...);
}

// A strided tensor of its storage, checked to lie inside it.
struct View {
  std::vector<int64_t> sizes, strides;
  int64_t offset = 0, elements = 1;
};

View checked_view(const PickleValue& tensor, const std::string& name, const std::string& path) {
  const int64_t count = tensor.items[0]->integer;
  if (tensor.items[1]->items.size() > Shape::kMaxRank)
    damaged(path, "tensor ", printable(name), " has more than ", Shape::kMaxRank, " dimensions");
  View view;
  view.offset = tensor.integer;
  for (const PickleValue* size : tensor.items[1]->items) view.sizes.push_back(size->integer);
  for (const PickleValue* stride : tensor.items[2]->items) view.strides.push_back(stride->integer);
  const auto reaches_outside = [&] { damaged(path, "tensor ", printable(name), " reaches outside its storage"); };
  for (size_t i = 0; i < view.sizes.size(); ++i) {
    const int64_t size = view.sizes[i];
    if (size < 0 || view.strides[i] < 0) damaged(path, "tensor ", printable(name), " has a negative size or stride");
    // No honest tensor has more elements than its storage; a stride of 0 would let it.
    if (size != 0 && view.elements > count / size && view.elements != 0)
      damaged(path, "tensor ", printable(name), " has more elements than its storage");
    view.elements *= size;
  }
  if (view.offset < 0 || view.offset > count) reaches_outside();
  if (view.elements == 0) return view;
  int64_t last = view.offset;  // of the elements; kept below count, so nothing overflows
  for (size_t i = 0; i < view.sizes.size(); ++i) {
    const int64_t steps = view.sizes[i] - 1, stride = view.strides[i];
    if (steps > 0 && stride > (count - 1 - last) / steps) reaches_outside();
    last += steps > 0 ? steps * stride : 0;
  }
  if (last >= count) reaches_outside();
  return view;
}

// Copies the elements of `item` bytes in row-major order.
void gather(const View& view, size_t dimension, int64_t offset, size_t item, const std::byte* from, std::byte*& to) {
  if (dimension == view.sizes.size()) {
    std::memcpy(to, from + static_cast<size_t>(offset) * item, item);
    to += item;
    return;
  }
  for (int64_t i = 0; i < view.sizes[dimension]; ++i)
    gather(view, dimension + 1, offset + i * view.strides[dimension], item, from, to);
}

Tensor make_tensor(const View& view, const PickleValue& storage, std::span<const std::byte> content) {
  const size_t item = storage.item_bytes();
  std::vector<std::byte> dense(static_cast<size_t>(view.elements) * item);
  std::byte* to = dense.data();
  if (view.elements > 0) gather(view, 0, view.offset, item, content.data(), to);
  Tensor tensor(Shape(view.sizes), storage.dtype);
  if (storage.encoding == Encoding::half)
    half_to_float(dense, tensor.data<float>());
  else if (storage.encoding == Encoding::bfloat16)
    bfloat16_to_float(dense, tensor.data<float>());
  else
    tensor.copy_from(dense);
  return tensor;
}

bool has_tensors(const PickleValue& dict) {
  if (dict.kind != Kind::dict) return false;
  for (size_t i = 1; i < dict.items.size(); i += 2)
    if (dict.items[i]->kind == Kind::tensor) return true;
  return false;
}

const PickleValue& find_state_dict(const PickleValue& root, const std::string& path) {
  for (const char* key : {"state_dict", "model_state_dict", "model", "net"})
    if (const PickleValue* entry = root.find(key); entry && has_tensors(*entry)) return *entry;
  if (has_tensors(root)) return root;
  damaged(path, "holds no state dict: expected tensors under \"state_dict\" or at the root");
}

std::vector<NamedTensor> read_tensors(const PthParts& parts, const PickleValue& state, size_t file_bytes,
                                      const std::string& path) {
  // Tied tensors may share a storage; thousands of views of one would fill the memory.
  size_t bytes_left = 8 * file_bytes + 65536;
  std::vector<NamedTensor> tensors;
  tensors.reserve(state.items.size() / 2);
  std::set<std::string> names;
  for (size_t i = 0; i + 1 < state.items.size(); i += 2) {
    const PickleValue &key = *state.items[i], &value = *state.items[i + 1];
    if (value.kind != Kind::tensor) continue;
    if (key.kind != Kind::string) damaged(path, "a tensor whose name is no text");
    const std::string name = key.string.starts_with("module.") ? key.string.substr(7) : key.string;
    if (!names.insert(name).second) damaged(path, "tensor ", printable(name), " stands twice");
    const View view = checked_view(value, name, path);
    const PickleValue& storage = *value.items[0];
    const size_t bytes = static_cast<size_t>(view.elements) * size_of(storage.dtype);
    if (bytes > bytes_left) damaged(path, "tensor ", printable(name), ": the tensors repeat their storages too often");
    bytes_left -= bytes;
    tensors.push_back({name, make_tensor(view, storage, parts.storages.at(storage.string))});
  }
  return tensors;
}

void add_metadata(const PickleValue& root, TensorFile& file) {
  if (root.kind != Kind::dict) return;
  for (size_t i = 0; i + 1 < root.items.size(); i += 2) {
    const PickleValue &key = *root.items[i], &value = *root.items[i + 1];
    if (key.kind != Kind::string) continue;
    if (value.kind == Kind::boolean) file.metadata[key.string] = value.integer ? "true" : "false";
    if (value.kind == Kind::integer) file.metadata[key.string] = std::to_string(value.integer);
    if (value.kind == Kind::real) file.metadata[key.string] = shortest_digits(value.real);
    if (value.kind == Kind::string) file.metadata[key.string] = value.string;
  }
}

}  // namespace

bool looks_like_pth_zip(std::span<const std::byte> bytes) {
  return bytes.size() >= 4 && std::memcmp(bytes.data(), "PK\x03\x04", 4) == 0;
}

bool looks_like_pth_legacy(std::span<const std::byte> bytes) {
  return bytes.size() >= 4 && std::memcmp(bytes.data(), "\x80\x02\x8a\x0a", 4) == 0;
}

TensorFile parse_pth(std::span<const std::byte> bytes, const std::string& path) {
  const PthParts parts = looks_like_pth_zip(bytes) ? read_pth_zip(bytes, path) : read_pth_legacy(bytes, path);
  const PickleValue& state = find_state_dict(*parts.root, path);
  TensorFile file;
  file.tensors = read_tensors(parts, state, bytes.size(), path);
  add_metadata(*parts.root, file);
  return file;
}

}  // namespace apotnet
