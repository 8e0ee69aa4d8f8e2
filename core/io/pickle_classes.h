#pragma once

#include <string_view>

#include "core/io/pickle.h"

namespace apotnet {

/// The whitelist: every name a pickle may refer to, as "module name".
constexpr std::string_view kOrderedDict = "collections OrderedDict";
constexpr std::string_view kRebuildTensor = "torch._utils _rebuild_tensor_v2";
constexpr std::string_view kRebuildParameter = "torch._utils _rebuild_parameter";

struct StorageType {
  std::string_view name;
  DType dtype;
  PickleValue::Encoding encoding = PickleValue::Encoding::plain;
};

/// nullptr when the name is no storage type.
const StorageType* find_storage_type(std::string_view name);
bool is_known_class(std::string_view name);

}  // namespace apotnet
