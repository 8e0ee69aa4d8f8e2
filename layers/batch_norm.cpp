#include "layers/batch_norm.h"

#include "core/ops/batch_norm.h"

namespace apotnet {

BatchNorm::BatchNorm(int64_t channels)
    : weight(Tensor::full({channels}, DType::f32, 1), true),
      bias(Tensor::zeros({channels}, DType::f32), true),
      running_mean(Tensor::zeros({channels}, DType::f32)),
      running_var(Tensor::full({channels}, DType::f32, 1)),
      num_batches_tracked(Tensor::zeros({}, DType::i64)) {
  add_parameter("weight", weight);
  add_parameter("bias", bias);
  add_buffer("running_mean", running_mean);
  add_buffer("running_var", running_var);
  add_buffer("num_batches_tracked", num_batches_tracked);
}

Variable BatchNorm::forward(const Variable& x) {
  if (!training()) return batch_norm_eval(x, weight, bias, kEpsilon, running_mean, running_var);
  ++num_batches_tracked.data<int64_t>()[0];
  return batch_norm_train(x, weight, bias, kEpsilon, kMomentum, running_mean, running_var, ghost_batch);
}

UncomputedNorm BatchNorm::uncomputed(const Variable& x) {
  if (!training()) return uncomputed_norm_eval(x, weight, bias, kEpsilon, running_mean, running_var);
  ++num_batches_tracked.data<int64_t>()[0];
  return uncomputed_norm_train(x, weight, bias, kEpsilon, kMomentum, running_mean, running_var, ghost_batch);
}

void BatchNorm::initialize_own(Philox&) {
  weight.mutable_value().fill(1);
  bias.mutable_value().fill(0);
  running_mean.fill(0);
  running_var.fill(1);
  num_batches_tracked.fill(0);
}

void set_ghost_batch(Module& network, int64_t images) {
  network.for_each_module([images](Module& module) {
    if (auto* norm = dynamic_cast<BatchNorm*>(&module)) norm->ghost_batch = images;
  });
}

}  // namespace apotnet
