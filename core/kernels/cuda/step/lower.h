#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "core/kernels/trace.h"

namespace apotnet::cuda {

/// A training step as a list of launches on fixed addresses.
class StepProgram {
 public:
  explicit StepProgram(std::vector<std::function<void()>> launches) : launches_(std::move(launches)) {}
  void run() const {
    for (const auto& launch : launches_) launch();
  }

 private:
  std::vector<std::function<void()>> launches_;
};

/// Turns the calls of a training step that have not run (KernelTrace::Mode::records) into few launches: what stands
/// between two quantized convolutions goes into the convolutions (step_kernels.h), all weights go together, and of the
/// floats in between only those are stored that somebody else reads. Calls that no rule knows stay as they are, and the
/// tensors that they read are stored for them. Not a value where there is nothing to gain or a structure that the rules
/// do not see through: then the step is run as it is.
std::optional<StepProgram> lower_step(const std::vector<TracedCall>& trace);

}  // namespace apotnet::cuda
