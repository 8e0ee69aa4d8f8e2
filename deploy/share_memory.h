#pragma once

#include "deploy/steps.h"

namespace apotnet {

/// Gives planes and frames of one layout that are never needed at the same time one memory, so that an image's way
/// through the network stays in the cache. Renumbers them in `steps` (in order of execution) and in `plan`.
void share_memory(std::vector<StepSettings>& steps, NetworkPlan& plan);

}  // namespace apotnet
