#pragma once

#include <memory>
#include <string>

#include "deploy/lower.h"
#include "models/model.h"

namespace apotnet {

/// The steps of a trained model for images of `height` x `width` x `channels`: one evaluation is traced and lowered
/// (deploy/lower.h). The model lies on the CPU and is left as it was. Errors as of lower().
LoweredNetwork lower(Model& model, int64_t height, int64_t width, int64_t channels);

/// The integer network of a trained model, which computes on `device`.
std::unique_ptr<IntegerNetwork> compile(Model& model, int64_t height, int64_t width, int64_t channels,
                                        Device device = {});

/// The same, or none, and in `why` the reason, where lower() says that an integer network cannot hold the model.
std::unique_ptr<IntegerNetwork> compile_if_possible(Model& model, int64_t height, int64_t width, int64_t channels,
                                                    Device device, std::string& why);

}  // namespace apotnet
