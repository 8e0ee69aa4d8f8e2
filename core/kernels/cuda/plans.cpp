#include "core/kernels/cuda/plans.h"

#include <optional>
#include <vector>

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

// Not a value where the library has no such plan.
std::optional<ConvolutionPlan> plan_if_any(const ConvolutionDescription& description, const PlanLimits& limits) {
  try {
    return ConvolutionPlan(description, limits);
  } catch (const Error& error) {
    if (error.category() != ErrorCategory::unavailable) throw;
    return {};
  }
}

ConvolutionPlan make_plan(const ConvolutionDescription& description, const std::string& key) {
  // Some shapes have no tensor-core kernel within the limit of workspace; float32 is at least as exact.
  std::vector<ConvolutionDescription> forms{description};
  if (description.arithmetic == Arithmetic::tf32) {
    forms.push_back(description);
    forms.back().arithmetic = Arithmetic::f32;
  }
  // An engine that is gone (another version of the library, another device): who compares the engines sees it.
  const Engines& preferred = plans().preferred;
  if (const auto found = preferred.find(key); found != preferred.end())
    for (const ConvolutionDescription& form : forms)
      if (auto plan = plan_if_any(form, {.engine = found->second})) return std::move(*plan);
  if (forms.size() == 2)
    if (auto plan = plan_if_any(description, {})) return std::move(*plan);
  return ConvolutionPlan(forms.back());
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
