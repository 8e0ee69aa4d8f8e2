#pragma once

#include <map>
#include <string>

#include "core/kernels/cuda/convolution_plan.h"

namespace apotnet::cuda {

/// Engines (ConvolutionPlan::engine) by the text of the convolution.
using Engines = std::map<std::string, std::string>;

/// The plan of a convolution, made at the first call: with the engine that is preferred for it if that is to be had,
/// else with the vendor's first choice.
const ConvolutionPlan& plan_for(const ConvolutionDescription& description);

/// Those of all plans made so far.
Engines chosen_engines();

/// For plans from now on. A plan with another engine is given up, so no work that was recorded with it may be left.
void prefer_engines(const Engines& engines);

}  // namespace apotnet::cuda
