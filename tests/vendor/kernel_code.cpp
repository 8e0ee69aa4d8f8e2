#include "tests/vendor/kernel_code.h"

#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <regex>
#include <sstream>
#include <tuple>

#include "core/base/error.h"
#include "tests/support/run_program.h"

namespace apotnet::test {
namespace {

std::string cuobjdump(const std::string& options) {
  const Finished run = run_program("cuobjdump " + options + " " APOTNET_KERNEL_LIBRARY);
  require(run.exit_code == 0, "cuobjdump ", options, " fails: ", run.error);
  return run.out;
}

void remove_all(std::string& text_of, const std::string& part) {
  for (size_t at = text_of.find(part); at != std::string::npos; at = text_of.find(part)) text_of.erase(at, part.size());
}

// "normalise_kernel<4, AddReluOut>" of a mangled name: without namespaces, result and arguments.
std::string readable(const std::string& mangled) {
  int status = 0;
  const std::unique_ptr<char, void (*)(void*)> demangled(
      abi::__cxa_demangle(mangled.c_str(), nullptr, nullptr, &status), std::free);
  std::string name = demangled ? demangled.get() : mangled;
  remove_all(name, "(anonymous namespace)::");
  remove_all(name, "apotnet::cuda::");
  int depth = 0;
  for (size_t i = 0; i < name.size(); ++i) {
    depth += name[i] == '<' ? 1 : name[i] == '>' ? -1 : 0;
    if (depth == 0 && name[i] == '(') name.resize(i);
  }
  if (name.starts_with("void ")) name.erase(0, 5);
  for (size_t at = name.find("> >"); at != std::string::npos; at = name.find("> >")) name.erase(at + 1, 1);
  return name;
}

// Goes through what cuobjdump prints and knows which file, architecture and function a line belongs to.
class Reader {
 public:
  template <typename OnLine>
  void read(const std::string& dump, OnLine&& on_line) {
    static const std::regex kMember(R"(member .*[:/]([^:/]+)\.o:)"), kArchitecture(R"(arch = (sm_\w+))"),
        kFunction(R"(\s*Function\s*:?\s*(\w+):?)");
    std::istringstream lines(dump);
    std::smatch found;
    KernelCode* now = nullptr;
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("member ") && std::regex_match(line, found, kMember)) {
        file_ = found[1];
      } else if (line.starts_with("arch = ") && std::regex_match(line, found, kArchitecture)) {
        architecture_ = found[1];
        now = nullptr;
      } else if (line.find("Function") != std::string::npos && std::regex_match(line, found, kFunction)) {
        now = &kernels_[{file_ + " " + readable(found[1]), architecture_}];
      } else if (now) {
        on_line(line, *now);
      }
    }
  }
  std::vector<KernelCode> take() {
    std::vector<KernelCode> all;
    for (auto& [key, kernel] : kernels_) {
      std::tie(kernel.name, kernel.architecture) = key;
      all.push_back(std::move(kernel));
    }
    return all;
  }

 private:
  std::map<std::pair<std::string, std::string>, KernelCode> kernels_;
  std::string file_, architecture_;
};

void read_resources(const std::string& line, KernelCode& kernel) {
  static const std::regex kUsage(R"(.*REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+) .*)");
  std::smatch found;
  if (!std::regex_match(line, found, kUsage)) return;
  require(kernel.registers == 0, "two kernels of one name");
  kernel.registers = std::stoi(found[1]);
  kernel.stack = std::stoi(found[2]);
  kernel.shared = std::stoi(found[3]);
  kernel.local = std::stoi(found[4]);
}

// "        /*0080*/               @P0 EXIT ;   /* 0x... */"
void read_instruction(const std::string& line, KernelCode& kernel) {
  size_t at = line.find_first_not_of(" \t");
  if (at == std::string::npos || line.compare(at, 2, "/*") != 0) return;
  at = line.find("*/", at);
  if (at == std::string::npos) return;
  at = line.find_first_not_of(" \t", at + 2);
  if (at != std::string::npos && line[at] == '@') at = line.find_first_not_of(" \t", line.find(' ', at));
  if (at == std::string::npos) return;
  ++kernel.instructions[line.substr(at, line.find_first_of(" ;", at) - at)];
}

}  // namespace

bool KernelCode::has(const std::string& instruction) const {
  const auto found = instructions.lower_bound(instruction);
  return found != instructions.end() && (found->first == instruction || found->first.starts_with(instruction + "."));
}

bool can_read_kernels() { return run_program("cuobjdump --version").exit_code == 0; }

std::vector<KernelCode> built_kernels(bool instructions) {
  Reader reader;
  reader.read(cuobjdump("--dump-resource-usage"), read_resources);
  if (instructions) reader.read(cuobjdump("--dump-sass"), read_instruction);
  std::vector<KernelCode> kernels = reader.take();
  // From sm_90 on the compiler counts the 1024 bytes that the driver takes in a block with shared memory.
  for (KernelCode& kernel : kernels)
    if (kernel.shared > 0 && std::stoi(kernel.architecture.substr(3)) >= 90) kernel.shared -= 1024;
  return kernels;
}

}  // namespace apotnet::test
