#pragma once

#include <cstddef>
#include <cstdint>
#include <list>
#include <span>
#include <string>
#include <vector>

#include "core/tensor/dtype.h"

namespace apotnet {

/// A value of a pickle, as far as checkpoints have them. Values belong to the PickleValues they were read into.
struct PickleValue {
  enum class Kind { none, boolean, integer, big_integer, real, string, tuple, list, dict, global, storage, tensor };
  enum class Encoding { plain, half, bfloat16, boolean };

  Kind kind = Kind::none;
  int64_t integer = 0;  ///< boolean, integer; storage: its number of elements; tensor: its offset in the storage
  double real = 0;
  std::string string;  ///< string; global: "module name"; storage: its key; big_integer: its bytes, lowest first
  std::vector<PickleValue*> items;      ///< tuple, list; dict: key, value, key ...; tensor: storage, sizes, strides
  int depth = 1;                        ///< of nested containers
  bool ordered = false;                 ///< dict: an OrderedDict
  DType dtype = DType::f32;             ///< storage: in memory
  Encoding encoding = Encoding::plain;  ///< storage: how the file has its elements

  /// The value of a string key; nullptr where there is none or this is no dict.
  const PickleValue* find(const std::string& key) const;
  /// Bytes of one stored element of a storage.
  size_t item_bytes() const;
};

/// Owns values; they may refer to each other in any way without owning.
using PickleValues = std::list<PickleValue>;

/// Reads one pickle (protocol 2, as PyTorch writes) from the start of `bytes` and moves `bytes` behind it.
///
/// This is a whitelist interpreter for data: it never runs anything. It knows the opcodes and the few classes that
/// state dicts are made of (OrderedDict, _rebuild_tensor_v2, _rebuild_parameter, the storage types); anything else is
/// an Error(damaged_data) that names it and its position in the file. `whole` is the file that `bytes` is part of; it
/// bounds how many values may exist.
const PickleValue& read_pickle(std::span<const std::byte>& bytes, PickleValues& values,
                               std::span<const std::byte> whole, const std::string& path);

}  // namespace apotnet
