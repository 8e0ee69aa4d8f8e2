#pragma once

#include <map>
#include <string>
#include <vector>

namespace apotnet::test {

/// A kernel as nvcc has compiled it for one kind of device.
struct KernelCode {
  std::string architecture;                 ///< "sm_80"
  std::string name;                         ///< file and instance, "norm.cu normalise_kernel<4, AddReluOut>"
  int registers = 0;                        ///< of a thread
  int shared = 0;                           ///< bytes of a block, without what the driver takes
  int stack = 0, local = 0;                 ///< bytes of a thread outside registers
  std::map<std::string, int> instructions;  ///< how often each stands in it, by its full name: "LDG.E.128"

  /// Whether an instruction of this name is there, whatever follows in its full name.
  bool has(const std::string& instruction) const;
};

/// Whether cuobjdump, of the toolkit or of PyPI's nvidia-cuda-cuobjdump, is on the path.
bool can_read_kernels();

/// Every kernel in the library of the build, for every architecture it was built for, in the order of names; with
/// instructions (some seconds) or without.
std::vector<KernelCode> built_kernels(bool instructions);

}  // namespace apotnet::test
