#include "core/io/pickle_classes.h"

#include <algorithm>
#include <array>

namespace apotnet {
namespace {

using Encoding = PickleValue::Encoding;

constexpr std::array kStorageTypes{StorageType{"torch DoubleStorage", DType::f64},
                                   StorageType{"torch FloatStorage", DType::f32},
                                   StorageType{"torch HalfStorage", DType::f32, Encoding::half},
                                   StorageType{"torch BFloat16Storage", DType::f32, Encoding::bfloat16},
                                   StorageType{"torch LongStorage", DType::i64},
                                   StorageType{"torch IntStorage", DType::s32},
                                   StorageType{"torch ShortStorage", DType::s16},
                                   StorageType{"torch CharStorage", DType::s8},
                                   StorageType{"torch ByteStorage", DType::u8},
                                   StorageType{"torch BoolStorage", DType::u8, Encoding::boolean}};

}  // namespace

const StorageType* find_storage_type(std::string_view name) {
  const auto found = std::ranges::find(kStorageTypes, name, &StorageType::name);
  return found == kStorageTypes.end() ? nullptr : &*found;
}

bool is_known_class(std::string_view name) {
  return name == kOrderedDict || name == kRebuildTensor || name == kRebuildParameter || find_storage_type(name);
}

const PickleValue* PickleValue::find(const std::string& key) const {
  if (kind != Kind::dict) return nullptr;
  for (size_t i = 0; i + 1 < items.size(); i += 2)
    if (items[i]->kind == Kind::string && items[i]->string == key) return items[i + 1];
  return nullptr;
}

size_t PickleValue::item_bytes() const {
  return encoding == Encoding::plain ? size_of(dtype) : encoding == Encoding::boolean ? 1 : 2;
}

}  // namespace apotnet
