#pragma once

#include <map>
#include <span>
#include <string>

#include "core/io/pickle.h"

namespace apotnet {

/// What both forms of a PyTorch checkpoint come down to: one pickled value and the raw bytes of the storages it names.
struct PthParts {
  PickleValues values;                                         ///< owns root
  const PickleValue* root = nullptr;                           ///< never null once read
  std::map<std::string, std::span<const std::byte>> storages;  ///< by key, inside the file; as long as described
};

/// Error(damaged_data); on return every storage that `root` names is there and every byte of the file is accounted for.
PthParts read_pth_legacy(std::span<const std::byte> bytes, const std::string& path);
PthParts read_pth_zip(std::span<const std::byte> bytes, const std::string& path);

/// The storages that the values name, by key; one that is described in two ways is an error.
std::map<std::string, const PickleValue*> named_storages(const PickleValues& values, const std::string& path);

}  // namespace apotnet
