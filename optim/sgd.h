#pragma once

#include "optim/parameter_groups.h"

namespace apotnet {

/// Stochastic gradient descent with momentum as PyTorch defines it: no dampening, no Nesterov, weight decay added to
/// the gradient (F14).
///
///   v = momentum * v + (g + weight_decay * p),   p = p - learning_rate * v
class Sgd {
 public:
  Sgd(std::vector<ParameterGroup> groups, double momentum);

  /// One step of every parameter that has a gradient, each group's learning rate times `rate_factor`.
  void step(double rate_factor);
  /// The two halves of a step: the rates, which a recorded step takes from their tensor, and the update by them.
  void set_rate_factor(double rate_factor);
  void update();
  void clear_gradients();

  /// From now on every step adds the squares of this parameter's gradient to `squares`, of its shape and where it lies.
  void add_squares_to(const Variable& parameter, Tensor squares);

  /// Momentum of each parameter, zeros at first. The tensors are the live ones: a checkpoint reads and writes them.
  struct State {
    std::string name;
    Tensor momentum;
  };
  const std::vector<State>& state() const { return state_; }

 private:
  std::vector<ParameterGroup> groups_;
  double momentum_;
  Tensor rates_;                 // of each group, where the parameters lie
  std::vector<State> state_;     // in the order of groups and parameters
  std::vector<Tensor> squares_;  // as many; undefined where nobody asked
};

}  // namespace apotnet
