#pragma once

#include <memory>
#include <string>

#include "models/registry.h"

namespace apotnet::test {

/// Random weights and batch norms that make use of all levels, some of them upside down.
void make_lively(Model& model, uint64_t seed);

/// A network for ten classes with weights of that kind.
std::unique_ptr<Model> lively_model(const std::string& name, const QuantSettings& quant, uint64_t seed);
std::unique_ptr<Model> lively_model(const std::string& name, LevelMethod method, int bits, uint64_t seed);

/// Normal images [count, side, side, 3].
Tensor normal_images(int64_t count, int64_t side = 32, uint64_t seed = 5);

/// The model's logits.
Tensor evaluated(Model& model, const Tensor& images);

}  // namespace apotnet::test
