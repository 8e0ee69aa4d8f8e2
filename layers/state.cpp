#include "layers/state.h"

#include <set>

#include "core/base/error.h"
#include "core/io/half.h"
#include "core/io/layout.h"

namespace apotnet {
namespace {

struct Entry {
  std::string name;
  Tensor* tensor;
};

std::vector<Entry> entries_of(Module& module) {
  std::vector<Entry> entries;
  module.for_each_state(
      [&](const Module::NamedParameter& parameter) {
        entries.push_back({parameter.name, &parameter.variable->mutable_value()});
      },
      [&](const Module::NamedBuffer& buffer) {
        entries.push_back({buffer.name, buffer.tensor});
      });
  return entries;
}

Shape file_shape(const Entry& entry) {
  const Shape& s = entry.tensor->shape();
  return s.rank() == 4 ? Shape{s[0], s[3], s[1], s[2]} : s;  // OHWI here, OIHW in files
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
      if (entry.name == candidate) return &entry;
  return nullptr;
}

}  // namespace

std::vector<NamedTensor> state_of(Module& module) {
  std::vector<NamedTensor> state;
  for (const Entry& entry : entries_of(module))
    state.push_back({entry.name, weight_to_pytorch(entry.tensor->on(Device{}).clone())});
  return state;
}

LoadReport load_state(Module& module, const TensorFile& file) {
  LoadReport report;
  const bool is_ours = file.metadata.contains("format_version");
  std::set<std::string> used;
  std::vector<std::pair<Tensor*, Tensor>> copies;
  for (const Entry& entry : entries_of(module)) {
    const NamedTensor* found = find_in(file, entry.name);
    if (!found) {
      if (is_ours || !entry.name.ends_with(".num_batches_tracked")) report.missing.push_back(entry.name);
      continue;
    }
    used.insert(found->name);
    const Shape wanted = file_shape(entry);
    const bool both_scalar = wanted.elements() == 1 && wanted.rank() == 0 && found->tensor.shape() == Shape{1};
    if (found->tensor.shape() != wanted && !both_scalar)
      fail(ErrorCategory::damaged_data, "tensor ", found->name, " has the shape ", found->tensor.shape(),
           " in the file, the model needs ", wanted);
    Tensor values = found->tensor;
    if (values.dtype() == DType::bf16) {
      values = Tensor(found->tensor.shape(), DType::f32);
      bfloat16_to_float({found->tensor.raw(), found->tensor.bytes()}, values.data<float>());
    }
    values = values.to(entry.tensor->dtype());
    copies.emplace_back(entry.tensor, weight_from_pytorch(values));
  }
  report.taken = copies.size();
  for (auto& [target, values] : copies) target->copy_from({values.raw(), values.bytes()});
  for (const NamedTensor& tensor : file.tensors)
    if (!used.contains(tensor.name)) report.unused.push_back(tensor.name);
  return report;
}

}  // namespace apotnet
