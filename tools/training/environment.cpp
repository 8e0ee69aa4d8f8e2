#include "tools/training/environment.h"

#include <sys/utsname.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/base/error.h"
#include "core/base/isa.h"
#include "core/io/atomic_file.h"
#include "tools/json_text.h"
#include "tools/time_stamp.h"
#include "tools/versions.h"

namespace apotnet {
namespace {

using Json = nlohmann::ordered_json;

utsname system_names() {
  utsname names{};
  ::uname(&names);
  return names;
}

// The processor's own name; Linux tells it on x86, elsewhere the architecture has to do.
std::string processor() {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);)
    if (line.starts_with("model name")) return line.substr(std::min(line.find(": ") + 2, line.size()));
  return system_names().machine;
}

Json describe(const StartOfRun& start) {
  const utsname names = system_names();
  return {{"started", time_stamp()},
          {"versions", versions()},
          {"system", text(names.sysname, " ", names.release)},
          {"architecture", names.machine},
          {"cpu", processor()},
          {"cores", std::thread::hardware_concurrency()},
          {"instructions", std::string(name_of(selected_isa()))},
          {"threads", start.threads},
          {"device", start.device},
          {"seed", start.seed},
          {"config", std::filesystem::path(start.config).filename().string()},
          {"overrides", start.overrides},
          {"command_line", start.command_line}};
}

}  // namespace

void write_environment(const std::string& path, const StartOfRun& start) {
  Json object = describe(start);
  if (std::error_code ignored; !start.from.empty() && std::filesystem::exists(path, ignored)) {
    const std::vector<std::byte> bytes = read_file(path);
    const char* begin = reinterpret_cast<const char*>(bytes.data());
    Json former = Json::parse(begin, begin + bytes.size(), nullptr, false);
    if (former.is_object()) {
      object["from"] = start.from;
      if (!former["resumed"].is_array()) former["resumed"] = Json::array();
      former["resumed"].push_back(std::move(object));
      object = std::move(former);
    }
  }
  const std::string content = json_text(object, 2) + "\n";
  write_file_atomically(path, {std::as_bytes(std::span(content))});
}

}  // namespace apotnet
