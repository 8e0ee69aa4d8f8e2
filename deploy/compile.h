#pragma once

#include <memory>

#include "deploy/integer_network.h"
#include "models/model.h"

namespace apotnet {

/// The integer network of a trained model for images of `height` x `width` x `channels`: one evaluation is traced and
/// lowered (deploy/lower.h). The model is left as it was. Errors as of lower().
std::unique_ptr<IntegerNetwork> compile(Model& model, int64_t height, int64_t width, int64_t channels);

}  // namespace apotnet
