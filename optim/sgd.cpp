#include "optim/sgd.h"

#include "core/kernels/call.h"

namespace apotnet {

Sgd::Sgd(std::vector<ParameterGroup> groups, double momentum) : groups_(std::move(groups)), momentum_(momentum) {
  for (const ParameterGroup& group : groups_)
    for (const NamedVariable& parameter : group.parameters) {
      const Tensor& value = parameter.variable.value();
      state_.push_back({parameter.name, Tensor::zeros(value.shape(), value.dtype(), value.device())});
    }
}

void Sgd::step(double rate_factor) {
  size_t i = 0;
  for (ParameterGroup& group : groups_)
    for (NamedVariable& parameter : group.parameters) {
      Tensor& momentum = state_[i++].momentum;
      if (!parameter.variable.grad().defined()) continue;
      const SgdSettings settings{group.learning_rate * rate_factor, momentum_, group.weight_decay};
      call("sgd", &UpdateKernels::sgd, parameter.variable.grad(), settings, parameter.variable.mutable_value(),
           momentum);
    }
}

void Sgd::clear_gradients() {
  for (ParameterGroup& group : groups_)
    for (NamedVariable& parameter : group.parameters) parameter.variable.clear_grad();
}

}  // namespace apotnet
