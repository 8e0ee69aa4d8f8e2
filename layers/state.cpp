#include "layers/state.h"

#include <set>

#include "core/base/error.h"

namespace apotnet {
namespace {

struct Entry {
  std::string name;
  Tensor* tensor;
  bool is_convolution;  // [O, H, W, I] here, [O, I, H, W] in files
};

std::vector<Entry> entries_of(Module& module) {
  std::vector<Entry> entries;
  module.for_each_state(
      [&](const Module::NamedParameter& parameter) {
        Tensor& tensor = parameter.variable->mutable_value();
        entries.push_back({parameter.name, &tensor, tensor.shape().rank() == 4});
      },
      [&](const Module::NamedBuffer& buffer) {
        entries.push_back({buffer.name, buffer.tensor, false});
      });
  return entries;
}

Shape file_shape(const Entry& entry) {
  const Shape& s = entry.tensor->shape();
  return entry.is_convolution ? Shape{s[0], s[3], s[1], s[2]} : s;
}

// [O, I, H, W] to [O, H, W, I].
Tensor ohwi_from_oihw(const Tensor& from) {
  const Shape s = from.shape();
  const int64_t inputs = s[1], pixels = s[2] * s[3];
  Tensor to({s[0], s[2], s[3], s[1]}, from.dtype());
  dispatch_any(from.dtype(), [&](auto zero) {
    const auto source = from.data<decltype(zero)>();
    const auto target = to.data<decltype(zero)>();
    for (int64_t n = 0; n < from.elements(); ++n) {
      const int64_t o = n / (inputs * pixels), i = n / pixels % inputs, pixel = n % pixels;
      target[static_cast<size_t>((o * pixels + pixel) * inputs + i)] = source[static_cast<size_t>(n)];
    }
  });
  return to;
}

Tensor oihw_from_ohwi(const Tensor& from) {
  const Shape s = from.shape();
  // The same swap with the roles of inputs and pixels exchanged.
  return ohwi_from_oihw(from.reshaped({s[0], s[1] * s[2], 1, s[3]})).reshaped({s[0], s[3], s[1], s[2]});
}

// The two published names of a weight's clipping threshold.
std::string other_name(const std::string& name) {
  for (const auto& [from, to] : {std::pair<std::string, std::string>{".weight_quant.wgt_alpha", ".weight_alpha"},
                                 std::pair<std::string, std::string>{".weight_alpha", ".weight_quant.wgt_alpha"}})
    if (name.ends_with(from)) return name.substr(0, name.size() - from.size()) + to;
  return name;
}

const NamedTensor* find_in(const TensorFile& file, const std::string& name) {
  for (const std::string& candidate : {name, other_name(name)})
    for (const NamedTensor& entry : file.tensors)
      if (entry.name == candidate || entry.name == "module." + candidate) return &entry;
  return nullptr;
}

}  // namespace

std::vector<NamedTensor> state_of(Module& module) {
  std::vector<NamedTensor> state;
  for (const Entry& entry : entries_of(module))
    state.push_back({entry.name, entry.is_convolution ? oihw_from_ohwi(*entry.tensor) : entry.tensor->clone()});
  return state;
}

LoadReport load_state(Module& module, const TensorFile& file) {
  LoadReport report;
  std::set<std::string> used;
  std::vector<std::pair<Tensor*, Tensor>> copies;
  for (const Entry& entry : entries_of(module)) {
    const NamedTensor* found = find_in(file, entry.name);
    if (!found) {
      report.missing.push_back(entry.name);
      continue;
    }
    used.insert(found->name);
    const Shape wanted = file_shape(entry);
    const bool both_scalar = wanted.elements() == 1 && wanted.rank() == 0 && found->tensor.shape() == Shape{1};
    if (found->tensor.shape() != wanted && !both_scalar)
      fail(ErrorCategory::damaged_data, "tensor ", found->name, " has the shape ", found->tensor.shape(),
           " in the file, the model needs ", wanted);
    const Tensor values = found->tensor.to(entry.tensor->dtype());
    copies.emplace_back(entry.tensor, entry.is_convolution ? ohwi_from_oihw(values) : values);
  }
  for (auto& [target, values] : copies) target->copy_from({values.raw(), values.bytes()});
  for (const NamedTensor& tensor : file.tensors)
    if (!used.contains(tensor.name)) report.unused.push_back(tensor.name);
  return report;
}

}  // namespace apotnet
