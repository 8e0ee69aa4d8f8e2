#include "core/autograd/variable.h"

#include <atomic>
#include <map>
#include <utility>

#include "core/base/error.h"
#include "core/kernels/call.h"

namespace apotnet {
namespace {

thread_local bool recording = true;
std::atomic<int64_t> next_order{0};

}  // namespace

struct Variable::Node {
  Tensor value;
  Quantized quantized;
  bool requires_grad = false;
  std::optional<Statistics> statistics;
  Tensor grad;
  std::vector<Variable> inputs;
  Backward backward;
  bool walked = false;  // backward() has been here and freed the closure
  int64_t order = 0;    // larger than that of every input
};

Variable Variable::make(Tensor value, Quantized quantized, const std::vector<Variable>& inputs, Backward backward) {
  Variable result;
  result.node_ = std::make_shared<Node>();
  Node& node = *result.node_;
  node.value = std::move(value);
  node.quantized = std::move(quantized);
  node.order = next_order++;
  for (const Variable& input : inputs) node.requires_grad = node.requires_grad || input.requires_grad();
  node.requires_grad = node.requires_grad && recording;
  if (node.requires_grad) {
    node.inputs = inputs;
    node.backward = std::move(backward);
  }
  return result;
}

Variable::Variable(Tensor value, bool requires_grad) : Variable(make(std::move(value), {}, {}, {})) {
  node_->requires_grad = requires_grad;
}

Variable::Variable(Quantized value, bool requires_grad) : Variable(make({}, std::move(value), {}, {})) {
  node_->requires_grad = requires_grad;
}

Variable Variable::record(Tensor value, const std::vector<Variable>& inputs, Backward backward) {
  return make(std::move(value), {}, inputs, std::move(backward));
}

Variable Variable::record(Quantized value, const std::vector<Variable>& inputs, Backward backward) {
  return make({}, std::move(value), inputs, std::move(backward));
}

const Tensor& Variable::value() const {
  require(defined() && node_->value.defined(), "a quantized or empty variable used as floats");
  return node_->value;
}

const Quantized& Variable::quantized() const {
  require(defined() && node_->quantized.defined(), "a float or empty variable used as codes");
  return node_->quantized;
}

const Shape& Variable::shape() const {
  require(defined(), "an empty variable has no shape");
  return node_->value.defined() ? node_->value.shape() : node_->quantized.shape();
}

void Variable::keep_statistics(const Statistics& statistics) { node_->statistics = statistics; }
const std::optional<Variable::Statistics>& Variable::statistics() const { return node_->statistics; }

bool Variable::requires_grad() const { return defined() && node_->requires_grad; }
const Tensor& Variable::grad() const { return node_->grad; }
void Variable::clear_grad() { node_->grad = {}; }

void Variable::set_grad(Tensor gradient) {
  require(requires_grad() && !node_->backward && gradient.shape() == shape(), "a gradient of shape ", gradient.shape(),
          " cannot be set");
  node_->grad = std::move(gradient);
}

Tensor& Variable::mutable_value() {
  require(defined() && !node_->backward, "only a leaf's value may be changed");
  return node_->value;
}

void Variable::backward() {
  require(value().elements() == 1, "backward() starts from a scalar, not from shape ", shape());
  require(requires_grad(), "backward() of a value that depends on no parameter");
  require(!node_->walked, "backward() was called on this value before: its tape is gone");
  node_->grad = Tensor::full(shape(), value().dtype(), 1, value().device());
  // Every node has a larger order than its inputs, so the largest order waiting has received all of its gradient.
  std::map<int64_t, std::shared_ptr<Node>> waiting{{node_->order, node_}};
  while (!waiting.empty()) {
    const std::shared_ptr<Node> node = waiting.extract(std::prev(waiting.end())).mapped();
    if (!node->backward) continue;  // a leaf keeps its gradient
    Gradients gradients(node->inputs);
    node->backward(std::move(node->grad), gradients);
    for (const Variable& input : node->inputs)
      if (input.requires_grad() && input.node_->grad.defined()) waiting.emplace(input.node_->order, input.node_);
    node->backward = nullptr;
    node->walked = true;
    node->inputs.clear();
  }
}

void Gradients::add(size_t input, Tensor gradient) {
  Variable::Node& node = *inputs_[input].node_;
  if (!node.requires_grad) return;
  require(gradient.shape() == inputs_[input].shape(), "a gradient of shape ", gradient.shape(),
          " for a value of shape ", inputs_[input].shape());
  if (!node.grad.defined()) {
    node.grad = std::move(gradient);
  } else if (node.grad.unshared()) {
    call("accumulate", &ElementwiseKernels::accumulate, gradient, node.grad);
  } else {  // it may be another node's gradient too, passed on as it was
    Tensor sum(node.grad.shape(), node.grad.dtype(), node.grad.device());
    call("add", &ElementwiseKernels::add, node.grad, gradient, sum);
    node.grad = std::move(sum);
  }
}

Tensor Gradients::take(size_t input) {
  Variable::Node& node = *inputs_[input].node_;
  return node.grad.defined() && node.grad.unshared() ? std::exchange(node.grad, {}) : Tensor();
}

NoGrad::NoGrad() : former_(recording) { recording = false; }
NoGrad::~NoGrad() { recording = former_; }

}  // namespace apotnet
