// Rules for the backward half of a step.
#include <algorithm>

#include "core/kernels/cuda/step/lowering.h"

namespace apotnet::cuda {
namespace {

Operand without_norm(Operand operand) {
  operand.norm.reset();
  operand.relu = false;
  return operand;
}

}  // namespace

bool Lowering::convolve_backward_input(const TracedCall& call) {
  const auto &gy = call.get<Tensor>(0), &gx = call.get<Tensor>(3);
  const auto& w = call.get<Quantized>(1);
  const auto& geometry = call.get<Conv2dGeometry>(2);
  const auto gradient = norm_gradients_.find(gy.raw());
  const size_t user = next_use(gx);
  const auto is_quantizer = [&](const TracedCall& next) {
    return next.name == "quantize_activation_backward" ? next.get<Quantized>(3).codes.dtype() == DType::u8
                                                       : next.name == "norm_relu_quantize_backward";
  };
  // The weights' rule has seen them; the input's codes are of 8 bits where the quantizer's are.
  if (gradient == norm_gradients_.end() || !weight_of_codes_.contains(w.codes.raw()) || geometry.groups != 1 ||
      w.shape()[0] % kChannelTile != 0 || w.shape()[3] % kChannelTile != 0 || user == trace_.size() ||
      !is_quantizer(trace_[user]) || !fits_input_gradient(sizes_of(gx.shape(), w.shape(), geometry)))
    return false;
  auto conv = std::make_shared<ConvolutionGradient>(ConvolutionGradient{{}, w, geometry});
  if (w.shape()[0] <= kFusedChannels) {
    conv->gy.computed = gradient->second.second;
    convolution_of_output_[gy.raw()] = conv;
  } else {
    conv->gy.stored = stored_gradient(gy);
  }
  convolution_gradients_[gx.raw()] = conv;
  never_written_.insert(gx.raw());
  return true;
}

Tensor Lowering::stored_gradient(const Tensor& gy) {
  Tensor& stored = stored_output_gradients_[gy.raw()];
  if (stored.defined()) return stored;
  stored = Tensor(gy.shape(), DType::bf16, kCuda);
  if (const auto waiting = convolution_of_output_.find(gy.raw()); waiting != convolution_of_output_.end())
    waiting->second->gy.stored = stored;
  else
    emit([gradient = norm_gradients_.at(gy.raw()).second, stored]() mutable {
      launch_norm_input_gradient(gradient, stored);
    });
  return stored;
}

bool Lowering::convolve_backward_weight(const TracedCall& call) {
  const auto &gy = call.get<Tensor>(0), &gw = call.get<Tensor>(3);
  const auto& x = call.get<Quantized>(1);
  const Shape& w = gw.shape();
  const auto& geometry = call.get<Conv2dGeometry>(2);
  // The quantizer of the weights comes next; its rule finds the gradient by its address.
  const size_t user = next_use(gw);
  if (!norm_gradients_.contains(gy.raw()) || x.codes.dtype() != DType::u8 || codes_.contains(x.codes.raw()) ||
      geometry.groups != 1 || w[0] % kChannelTile != 0 || w[3] % kChannelTile != 0 || user == trace_.size() ||
      trace_[user].name != "quantize_weight_backward" ||
      !weight_of_codes_.contains(trace_[user].get<Quantized>(3).codes.raw()) ||
      !fits_weight_gradient(sizes_of(x.shape(), w, geometry)))
    return false;
  const Tensor partial({splits_of(gy.shape(), w), w[0], w[1], w[2], w[3]}, DType::f32, kCuda);
  weight_end_of_[gw.raw()] = weight_ends_.size();
  never_written_.insert(gw.raw());
  weight_gradients_.push_back({stored_gradient(gy), x, geometry, w, partial});
  WeightGradientEnd end;
  end.partial = partial;
  end.x_step = x.step;
  weight_ends_.push_back(end);
  return true;
}

bool Lowering::is_alone(const Tensor& gy) const {
  const auto norm = std::ranges::find_if(trace_, [&](const TracedCall& call) {
    return call.name == "norm_relu_backward" && is_same(call.get<Tensor>(2), gy);
  });
  return norm != trace_.end() && calls_with({gy}, static_cast<size_t>(norm - trace_.begin()) + 1) == 1;
}

// gy stays known as what it is made of, for any other reader.
bool Lowering::image_weight_gradient(const TracedCall& call) {
  const auto &gy = call.get<Tensor>(0), &x = call.get<Tensor>(1), &gw = call.get<Tensor>(3);
  const auto& geometry = call.get<Conv2dGeometry>(2);
  const auto gradient = norm_gradients_.find(gy.raw());
  if (gradient == norm_gradients_.end() || gradient->second.second.x.sums || values_.contains(x.raw()) ||
      !is_of_images(x.shape(), gw.shape(), geometry))
    return false;
  // Behind the batch norm's call there is no reader but this one: a chain does not store the gradient.
  const NormInputGradient& computed = gradient->second.second;
  std::shared_ptr<ImageConvolution> image;
  if (image_ && is_same(image_->x, x) && is_alone(gy) && gradient_chain_.end_with(image_, computed)) {
    image = image_;
    image->gw = gw;
  }
  emit([image, computed, x = Tensor(x), geometry, own = Tensor(gw)]() mutable {
    if (!image || image->is_read()) launch_image_weight_gradient(computed, x, geometry, own);
  });
  return true;
}

bool Lowering::quantize_weight_backward(const TracedCall& call) {
  const auto found = weight_end_of_.extract(call.get<Tensor>(0).raw());
  if (found.empty()) return false;
  WeightGradientEnd& end = weight_ends_[found.mapped()];
  end.weight = (*weights_)[weight_of_codes_.at(call.get<Quantized>(3).codes.raw())];
  end.variant = call.get<QuantizerVariant>(4);
  end.gw = call.get<Tensor>(5);
  end.galpha = call.get<Tensor>(6);
  promised_.insert(end.galpha.raw());
  if (end.weight.normalises) {
    weight_end_of_[end.gw.raw()] = found.mapped();  // for weight_norm_backward
    never_written_.insert(end.gw.raw());
  } else {
    promised_.insert(end.gw.raw());
    never_written_.erase(end.gw.raw());
  }
  return true;
}

bool Lowering::weight_norm_backward(const TracedCall& call) {
  const auto found = weight_end_of_.extract(call.get<Tensor>(0).raw());
  if (found.empty()) return false;
  WeightGradientEnd& end = weight_ends_[found.mapped()];
  end.constant_statistics = call.get<bool>(3);
  end.gw = call.get<Tensor>(4);
  promised_.insert(end.gw.raw());
  never_written_.erase(end.gw.raw());
  return true;
}

bool Lowering::scale(const TracedCall& call) {
  if (chained_.contains(call.get<Tensor>(0).raw())) {
    chain_scalings_.push_back(&call);
    return true;
  }
  if (!promised_.contains(call.get<Tensor>(0).raw())) return false;
  scalings_.push_back(&call);
  promised_.insert(call.get<Tensor>(2).raw());
  return true;
}

void Lowering::finish_weights() {
  if (weight_ends_.empty()) return;
  // Every input gradient that stores what the weight gradients read has to be there.
  if (!weight_end_of_.empty() || !convolution_gradients_.empty()) failed_ = true;
  emit([gradients = std::exchange(weight_gradients_, {})] { launch_weight_gradients(gradients); });
  emit([ends = std::exchange(weight_ends_, {})] { launch_finish_weight_gradients(ends); });
  promised_.clear();
  for (const TracedCall* call : std::exchange(scalings_, {}))
    emit([call = *call] { call.replay(call, cuda_kernels()); });
}

void Lowering::emit_input_gradient(const std::shared_ptr<ConvolutionGradient>& conv, const ValueGradient& gradient) {
  const auto joins = [&] {
    if (!gradient_chain_.add(conv, gradient)) return false;
    chained_.insert(gradient.galpha.raw());
    return true;
  };
  if (!forward_chain_.empty()) end_chains();
  if (joins()) return;
  end_chains();
  if (joins()) return;
  emit([conv, own = gradient]() mutable { launch_input_gradient(conv->gy, conv->w, conv->geometry, own); });
}

void Lowering::take_over_norm(const Tensor& x, const BatchNormTerms& norm, const Tensor& ggamma, const Tensor& gbeta,
                              const Tensor& gx, ValueGradient& gradient) {
  const Operand operand = normalised(x, norm);
  const Tensor coefficients({norm.mean.elements(), 3}, DType::f32, kCuda);
  gradient.norms.push_back({operand, ggamma, gbeta, coefficients});
  never_written_.erase(gx.raw());
  norm_gradients_.insert_or_assign(gx.raw(),
                                   std::pair{gx, NormInputGradient{gradient.out, without_norm(operand), coefficients}});
}

void Lowering::take_over_sum(size_t index, ValueGradient& gradient) {
  const TracedCall& call = trace_[index];
  done_[index] = true;
  gradient.masks = true;
  gradient.value.relu = true;  // a value that is stored is so behind its ReLU: another one changes nothing
  if (call.name == "norm_relu_backward") {
    const auto& g = call.get<Tensor>(2);
    take_over_norm(call.get<Tensor>(0), call.get<BatchNormTerms>(1), call.get<Tensor>(3), call.get<Tensor>(4), g,
                   gradient);
    return;
  }
  const auto& g = call.get<Tensor>(3);
  narrow_gradients_[g.raw()] = gradient.out;
  take_over_norm(call.get<Tensor>(0), call.get<BatchNormTerms>(2), call.get<Tensor>(5), call.get<Tensor>(6),
                 call.get<Tensor>(4), gradient);
  // A projection's batch norm has the same gradient.
  const size_t next = next_use(g);
  if (next == trace_.size() || trace_[next].name != "batch_norm_backward") return;
  const TracedCall& projection = trace_[next];
  if (projection.get<Tensor>(0).raw() != g.raw()) return;
  done_[next] = true;
  narrow_gradients_.erase(g.raw());
  const BatchNormTerms norm{projection.get<Tensor>(2), projection.get<Tensor>(3),
                            projection.get<Tensor>(4), {},
                            projection.get<double>(5), false};
  take_over_norm(projection.get<Tensor>(1), norm, projection.get<Tensor>(7), projection.get<Tensor>(8),
                 projection.get<Tensor>(6), gradient);
}

bool Lowering::norm_relu_quantize_backward(const TracedCall& call) {
  const auto &x = call.get<Tensor>(0), &g = call.get<Tensor>(4);
  const auto& norm = call.get<BatchNormTerms>(1);
  const auto& out = call.get<Quantized>(3);
  const auto conv = convolution_gradients_.extract(g.raw());
  if (conv.empty()) return false;
  ValueGradient gradient{.value = {normalised(x, norm), {}, true},
                         .quantized = true,
                         .alpha = call.get<Tensor>(2),
                         .galpha = call.get<Tensor>(7),
                         .levels = out.levels,
                         .other = {},
                         .masks = true,
                         .norms = {},
                         .out = Tensor(g.shape(), DType::bf16, kCuda)};
  take_over_norm(x, norm, call.get<Tensor>(5), call.get<Tensor>(6), g, gradient);
  emit_input_gradient(conv.mapped(), gradient);
  return true;
}

bool Lowering::quantize_activation_backward(const TracedCall& call) {
  const auto &g = call.get<Tensor>(0), &x = call.get<Tensor>(1), &gx = call.get<Tensor>(6);
  const auto conv = convolution_gradients_.extract(g.raw());
  if (conv.empty()) return false;
  Value value = value_of(x);
  // The variant that clips below 0 as well does the same where nothing is negative.
  if (call.get<QuantizerVariant>(4) == QuantizerVariant::imagenet && !value.relu && !not_negative_.contains(x.raw()))
    failed_ = true;
  ValueGradient gradient{.value = value,
                         .quantized = true,
                         .alpha = call.get<Tensor>(2),
                         .galpha = call.get<Tensor>(7),
                         .levels = call.get<Quantized>(3).levels,
                         .other = {},
                         .masks = false,
                         .norms = {},
                         .out = {}};
  if (call.get<bool>(5)) {
    const auto narrow = narrow_gradients_.extract(gx.raw());
    gradient.other = narrow.empty() ? gx : narrow.mapped();
  }
  const size_t next = next_use(gx);
  const std::string name = next < trace_.size() ? trace_[next].name : "";
  const bool ends = (name == "norm_add_relu_backward" && trace_[next].get<Tensor>(3).raw() == gx.raw()) ||
                    (name == "norm_relu_backward" && trace_[next].get<Tensor>(2).raw() == gx.raw());
  const bool goes_on = name == "quantize_activation_backward" && trace_[next].get<Tensor>(6).raw() == gx.raw();
  gradient.out = ends || goes_on ? Tensor(gx.shape(), DType::bf16, kCuda) : gx;
  never_written_.erase(gx.raw());  // known otherwise from here on
  if (ends) take_over_sum(next, gradient);
  if (goes_on) narrow_gradients_[gx.raw()] = gradient.out;
  emit_input_gradient(conv.mapped(), gradient);
  return true;
}

// Of whole images: each pixel's gradient is known by its image's, for the call that reads it next.
bool Lowering::average_pool_backward(const TracedCall& call) {
  const auto& gx = call.get<Tensor>(2);
  const size_t next = next_use(gx);
  if (!is_of_whole_images(gx.shape(), call.get<PoolGeometry>(1)) || next == trace_.size() ||
      trace_[next].name != "norm_add_relu_backward" || !is_same(trace_[next].get<Tensor>(3), gx) ||
      trace_[next].get<Tensor>(3).shape() != gx.shape())  // of a part of the batch
    return false;
  for (const Address address : call.addresses) store(address);
  mean_gradients_[gx.raw()] = &call;
  return true;
}

bool Lowering::norm_add_relu_backward(const TracedCall& call) {
  const auto &x = call.get<Tensor>(0), &y = call.get<Tensor>(1), &g = call.get<Tensor>(3);
  // Worth it where x is known as sums; else the kernel of the contract does as well.
  if (!values_.contains(x.raw()) || narrow_gradients_.contains(g.raw())) return false;
  ValueGradient gradient{.value = value_of(y),
                         .quantized = false,
                         .alpha = {},
                         .galpha = {},
                         .levels = nullptr,
                         .other = {},
                         .masks = true,
                         .norms = {},
                         .out = Tensor(g.shape(), DType::bf16, kCuda)};
  const auto of_mean = mean_gradients_.extract(g.raw());
  const Tensor from = of_mean.empty() ? g : of_mean.mapped()->get<Tensor>(0);
  take_over_sum(position_, gradient);
  emit([from, gradient]() mutable { launch_value_gradient(from, gradient); });
  return true;
}

}  // namespace apotnet::cuda
