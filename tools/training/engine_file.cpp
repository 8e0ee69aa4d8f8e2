#include "tools/training/engine_file.h"

#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "core/base/error.h"
#include "core/io/atomic_file.h"

namespace apotnet {
namespace {

using Engines = std::map<std::string, std::string>;

// False where the file does not hold an object of strings.
bool read_engines(const std::string& path, Engines& engines) {
  const std::vector<std::byte> bytes = read_file(path);
  const char* begin = reinterpret_cast<const char*>(bytes.data());
  const auto object = nlohmann::json::parse(begin, begin + bytes.size(), nullptr, false);
  if (!object.is_object()) return false;
  for (const auto& [convolution, engine] : object.items()) {
    if (!engine.is_string()) return false;
    engines.emplace(convolution, engine.get<std::string>());
  }
  return true;
}

}  // namespace

EngineFile::EngineFile(std::string path, Accelerator& device, bool resumed) : path_(std::move(path)), device_(device) {
  if (std::error_code ignored; !resumed || !std::filesystem::exists(path_, ignored)) return;
  unreadable_ = !read_engines(path_, stored_);
  if (unreadable_) stored_.clear();
  device_.prefer_engines(stored_);
}

std::string EngineFile::update() {
  size_t added = 0, lost = 0;
  std::string example;
  for (const auto& [convolution, engine] : device_.engines()) {
    const auto [stored, is_new] = stored_.emplace(convolution, engine);
    added += is_new ? 1 : 0;
    if (stored->second == engine) continue;
    if (lost++ == 0) example = text(stored->second, " for ", convolution);
    stored->second = engine;
  }
  const bool unreadable = std::exchange(unreadable_, false);
  if (added > 0 || lost > 0) {
    const std::string content = nlohmann::json(stored_).dump(2) + "\n";
    write_file_atomically(path_, {std::as_bytes(std::span(content))});
  }
  if (unreadable) return text(path_, ": not an object of engines; they are chosen anew");
  if (lost == 0) return "";
  return text(path_, ": ", lost, lost == 1 ? " engine is" : " engines are", " not to be had here (", example,
              "), chosen anew; the run may go on to other bits");
}

}  // namespace apotnet
