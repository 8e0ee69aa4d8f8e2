#include "optim/sgd.h"

#include <algorithm>

#include "core/kernels/call.h"

namespace apotnet {

Sgd::Sgd(std::vector<ParameterGroup> groups, double momentum) : groups_(std::move(groups)), momentum_(momentum) {
  for (const ParameterGroup& group : groups_)
    for (const NamedVariable& parameter : group.parameters) {
      const Tensor& value = parameter.variable.value();
      state_.push_back({parameter.name, Tensor::zeros(value.shape(), value.dtype(), value.device())});
    }
  squares_.resize(state_.size());
}

void Sgd::add_squares_to(const Variable& parameter, Tensor squares) {
  size_t i = 0;
  for (const ParameterGroup& group : groups_)
    for (const NamedVariable& own : group.parameters) {
      if (own.variable.value().raw() == parameter.value().raw()) squares_[i] = squares;
      ++i;
    }
}

void Sgd::step(double rate_factor) {
  set_rate_factor(rate_factor);
  update();
}

void Sgd::set_rate_factor(double rate_factor) {
  if (state_.empty()) return;
  Tensor rates({static_cast<int64_t>(groups_.size())}, state_[0].momentum.dtype());
  dispatch_float(rates.dtype(), [&](auto zero) {
    std::ranges::transform(groups_, rates.data<decltype(zero)>().begin(), [&](const ParameterGroup& group) {
      return static_cast<decltype(zero)>(group.learning_rate * rate_factor);
    });
  });
  if (!rates_.defined()) rates_ = state_[0].momentum.like(rates.shape());
  rates_.copy_from({rates.raw(), rates.bytes()});
}

void Sgd::update() {
  std::vector<SgdItem> items;
  size_t i = 0;
  for (size_t group = 0; group < groups_.size(); ++group)
    for (NamedVariable& parameter : groups_[group].parameters) {
      const Tensor &momentum = state_[i].momentum, &squares = squares_[i];
      ++i;
      if (parameter.variable.grad().defined())
        items.push_back({parameter.variable.grad(), parameter.variable.mutable_value(), momentum, momentum_,
                         groups_[group].weight_decay, static_cast<int64_t>(group), squares});
    }
  if (!items.empty()) call("sgd_all", &UpdateKernels::sgd_all, items, rates_);
}

void Sgd::clear_gradients() {
  for (ParameterGroup& group : groups_)
    for (NamedVariable& parameter : group.parameters) parameter.variable.clear_grad();
}

}  // namespace apotnet
