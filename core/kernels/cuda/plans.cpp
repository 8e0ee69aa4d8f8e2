#include "core/kernels/cuda/plans.h"

#include "core/base/error.h"

namespace apotnet::cuda {
namespace {

struct Plans {
  std::map<std::string, ConvolutionPlan> made;
  Engines preferred;
};

Plans& plans() {
  static auto* all = new Plans;  // the library outlives static objects
  return *all;
}

ConvolutionPlan make_plan(const ConvolutionDescription& description, const std::string& key) {
  const Engines& preferred = plans().preferred;
  if (const auto found = preferred.find(key); found != preferred.end()) {
    try {
      return ConvolutionPlan(description, {.engine = found->second});
    } catch (const Error& error) {
      // Another version of the library or another device: who compares the engines sees it.
      if (error.category() != ErrorCategory::unavailable) throw;
    }
  }
  try {
    return ConvolutionPlan(description);
  } catch (const Error& error) {
    // Some shapes have no tensor-core kernel within the limit of workspace; float32 is at least as exact.
    if (error.category() != ErrorCategory::unavailable || description.arithmetic != Arithmetic::tf32) throw;
    ConvolutionDescription exact = description;
    exact.arithmetic = Arithmetic::f32;
    return ConvolutionPlan(exact);
  }
}

}  // namespace

const ConvolutionPlan& plan_for(const ConvolutionDescription& description) {
  auto& made = plans().made;
  const std::string key = description.text();
  auto plan = made.find(key);
  if (plan == made.end()) plan = made.emplace(key, make_plan(description, key)).first;
  return plan->second;
}

Engines chosen_engines() {
  Engines engines;
  for (const auto& [key, plan] : plans().made) engines.emplace(key, plan.engine());
  return engines;
}

void prefer_engines(const Engines& engines) {
  plans().preferred = engines;
  std::erase_if(plans().made, [&](const auto& item) {
    const auto preferred = engines.find(item.first);
    return preferred != engines.end() && preferred->second != item.second.engine();
  });
}

}  // namespace apotnet::cuda
