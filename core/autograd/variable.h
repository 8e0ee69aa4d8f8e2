#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/quant/quantized.h"
#include "core/tensor/tensor.h"

namespace apotnet {

class Gradients;

/// A value of the computation, what produced it, and after backward() its gradient.
///
/// The value is a float tensor or a quantized tensor; the gradient of either is a float tensor of its shape, taken with
/// respect to the values (code * step). An operation computes its output and calls record() with a closure that turns
/// the output's gradient into its inputs' gradients. Copies share one node.
class Variable {
 public:
  /// The gradient is handed over: a closure that takes it by value may change it in place where it is unshared().
  using Backward = std::function<void(Tensor gradient, Gradients& inputs)>;

  Variable() = default;
  /// A leaf: an input (no gradient) or a parameter.
  explicit Variable(Tensor value, bool requires_grad = false);
  explicit Variable(Quantized value, bool requires_grad = false);

  /// The output of an operation on `inputs`. `backward` is kept only if one of them requires a gradient.
  static Variable record(Tensor value, const std::vector<Variable>& inputs, Backward backward);
  static Variable record(Quantized value, const std::vector<Variable>& inputs, Backward backward);

  bool defined() const { return node_ != nullptr; }
  const Tensor& value() const;
  const Quantized& quantized() const;
  const Shape& shape() const;
  bool requires_grad() const;

  /// Mean and biased variance per channel of the value, kept by an operation that found them on its way.
  struct Statistics {
    Tensor mean, variance;
  };
  void keep_statistics(const Statistics& statistics);
  const std::optional<Statistics>& statistics() const;

  /// The gradient; not defined() before backward(). Of non-leaves only during backward().
  const Tensor& grad() const;
  void clear_grad();
  /// Puts a gradient that was added up elsewhere in place of a leaf's own.
  void set_grad(Tensor gradient);
  /// The tensor of a leaf, to be changed in place by an optimizer or a checkpoint.
  Tensor& mutable_value();

  /// Computes d(this)/d(leaf) for every leaf that requires it and adds it to the leaf's gradient. `this` must be a
  /// scalar. The tape is walked once and freed on the way.
  void backward();

  /// Identity of the shared node.
  const void* id() const { return node_.get(); }

 private:
  struct Node;
  friend class Gradients;
  static Variable make(Tensor value, Quantized quantized, const std::vector<Variable>& inputs, Backward backward);

  std::shared_ptr<Node> node_;
};

/// Where a backward closure puts its inputs' gradients, by the position of the input in record().
class Gradients {
 public:
  explicit Gradients(std::vector<Variable>& inputs) : inputs_(inputs) {}
  /// Whether the gradient of this input is wanted at all.
  bool needed(size_t input) const { return inputs_[input].requires_grad(); }
  /// Adds to the input's gradient; a first contribution is taken over without a copy.
  void add(size_t input, Tensor gradient);
  /// The input's gradient so far, taken out for a kernel to add to in place; add() puts it back. Not defined() where
  /// there is none yet or another variable shares it.
  Tensor take(size_t input);

 private:
  std::vector<Variable>& inputs_;
};

/// While one lives, nothing is recorded on this thread: evaluation keeps no tape.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool former_;
};

}  // namespace apotnet
