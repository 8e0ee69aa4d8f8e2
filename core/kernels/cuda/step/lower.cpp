#include "core/kernels/cuda/step/lower.h"

#include <algorithm>
#include <utility>

#include "core/kernels/cuda/step/lowering.h"

namespace apotnet::cuda {
const std::map<std::string, Lowering::Rule, std::less<>>& Lowering::rules() {
  static const std::map<std::string, Rule, std::less<>> rules{
      {"weight_norm", &Lowering::weight_norm},
      {"quantize_weight", &Lowering::quantize_weight},
      {"quantize_activation", &Lowering::quantize_activation},
      {"norm_relu_quantize", &Lowering::norm_relu_quantize},
      {"norm_relu", &Lowering::norm_relu},
      {"norm_add_relu", &Lowering::norm_add_relu},
      {"batch_norm", &Lowering::batch_norm},
      {"conv2d", &Lowering::convolve_image},
      {"average_pool", &Lowering::average_pool},
      {"conv2d_codes_statistics", &Lowering::convolve},
      {"conv2d_codes_backward_input", &Lowering::convolve_backward_input},
      {"conv2d_codes_backward_weight", &Lowering::convolve_backward_weight},
      {"conv2d_backward_weight", &Lowering::image_weight_gradient},
      {"quantize_weight_backward", &Lowering::quantize_weight_backward},
      {"weight_norm_backward", &Lowering::weight_norm_backward},
      {"scale", &Lowering::scale},
      {"quantize_activation_backward", &Lowering::quantize_activation_backward},
      {"norm_relu_quantize_backward", &Lowering::norm_relu_quantize_backward},
      {"norm_add_relu_backward", &Lowering::norm_add_relu_backward},
      {"average_pool_backward", &Lowering::average_pool_backward},
  };
  return rules;
}

Lowering::Lowering(const std::vector<TracedCall>& trace) : trace_(trace), done_(trace.size(), false) {}

std::optional<StepProgram> Lowering::run() {
  // All weights of the step at once, known when the walk is over.
  emit([weights = weights_] {
    if (!weights->empty()) launch_quantize_weights(*weights);
  });
  for (position_ = 0; position_ < trace_.size() && !failed_; ++position_) {
    const TracedCall& call = trace_[position_];
    if (!done_[position_]) {
      const auto rule = rules().find(call.name);
      if (rule == rules().end() || !(this->*rule->second)(call)) keep(call);
    }
    seen_.insert(call.addresses.begin(), call.addresses.end());
  }
  finish_weights();
  end_chains();
  if (failed_ || convolutions_ == 0) return {};
  return StepProgram(std::move(launches_));
}

void Lowering::keep(const TracedCall& call) {
  for (const Address address : call.addresses) {
    if (promised_.contains(address)) finish_weights();
    store(address);
  }
  // What a maximum is taken of is not negative where its values are not.
  if (call.name == "max_pool" && not_negative_.contains(call.get<Tensor>(0).raw()))
    not_negative_.insert(call.get<Tensor>(2).raw());
  emit([call] { call.replay(call, cuda_kernels()); });
}

void Lowering::store(Address address) {
  if (const auto found = values_.find(address); found != values_.end()) {
    const auto [tensor, value] = found->second;
    emit([own = Tensor(tensor), value]() mutable { launch_evaluate(value, own, nullptr); });
    read_from_memory(tensor);
  }
  if (const auto found = norm_gradients_.find(address); found != norm_gradients_.end()) {
    emit([tensor = found->second.first, gradient = found->second.second]() mutable {
      launch_norm_input_gradient(gradient, tensor);
    });
    norm_gradients_.erase(found);
  }
  if (const auto found = mean_gradients_.find(address); found != mean_gradients_.end()) {
    emit([call = *found->second] { call.replay(call, cuda_kernels()); });
    mean_gradients_.erase(found);
  }
  if (const auto found = codes_.find(address); found != codes_.end()) {
    emit([codes = QuantizedValue{found->second.value, found->second.alpha, found->second.codes}]() mutable {
      Tensor unused;
      launch_evaluate(codes.value, unused, &codes);
    });
    codes_.erase(found);
  }
  if (const auto found = normalised_weights_.find(address); found != normalised_weights_.end()) {
    emit([call = *found->second.call] { call.replay(call, cuda_kernels()); });
    normalised_weights_.erase(found);
  }
  if (narrow_gradients_.contains(address) || never_written_.contains(address)) failed_ = true;
}

void Lowering::end_chains() {
  if (!forward_chain_.empty()) {
    forward_chain_.finish(image_);
    launches_.emplace_back([chain = std::exchange(forward_chain_, {})]() mutable { chain.launch(); });
  }
  if (!gradient_chain_.empty()) {
    gradient_chain_.finish(stored_values_);
    launches_.emplace_back([chain = std::exchange(gradient_chain_, {})]() mutable { chain.launch(); });
  }
  chained_.clear();
  for (const TracedCall* call : std::exchange(chain_scalings_, {}))
    launches_.emplace_back([call = *call] { call.replay(call, cuda_kernels()); });
}

size_t Lowering::next_use(const Tensor& tensor) const {
  for (size_t i = position_ + 1; i < trace_.size(); ++i)
    if (!done_[i] && std::ranges::find(trace_[i].addresses, tensor.raw()) != trace_[i].addresses.end()) return i;
  return trace_.size();
}

size_t Lowering::calls_with(const std::vector<Tensor>& tensors, size_t from) const {
  return static_cast<size_t>(
      std::count_if(trace_.begin() + static_cast<ptrdiff_t>(from), trace_.end(), [&](const TracedCall& call) {
        return std::ranges::any_of(tensors, [&](const Tensor& tensor) {
          return std::ranges::find(call.addresses, tensor.raw()) != call.addresses.end();
        });
      }));
}

std::optional<StepProgram> lower_step(const std::vector<TracedCall>& trace) { return Lowering(trace).run(); }

}  // namespace apotnet::cuda
