// Rules for the forward half of a step.
#include "core/kernels/cuda/step/lowering.h"

namespace apotnet::cuda {
namespace {

bool is_raw(const Operand& operand) { return !operand.norm && !operand.relu; }

}  // namespace

bool Lowering::weight_norm(const TracedCall& call) {
  const auto& w_hat = call.get<Tensor>(1);
  normalised_weights_.insert({w_hat.raw(), {call.get<Tensor>(0), call.get<Tensor>(2), call.get<Tensor>(3), &call}});
  return true;
}

bool Lowering::quantize_weight(const TracedCall& call) {
  const auto& w_hat = call.get<Tensor>(0);
  const auto& out = call.get<Quantized>(2);
  if (!out.exact()) return false;
  const auto normalised = normalised_weights_.find(w_hat.raw());
  // What a call before this one has made is no weight but an input with a sign.
  if (normalised == normalised_weights_.end() && seen_.contains(w_hat.raw())) return false;
  weight_of_codes_[out.codes.raw()] = weights_->size();
  if (normalised == normalised_weights_.end())
    weights_->push_back({w_hat, {}, {}, call.get<Tensor>(1), out, false});
  else
    weights_->push_back(
        {normalised->second.w, normalised->second.mean, normalised->second.std, call.get<Tensor>(1), out, true});
  return true;
}

Value Lowering::value_of(const Tensor& x) {
  const auto found = values_.find(x.raw());
  if (found == values_.end()) return {.a = {.values = x, .sums = {}, .norm = {}}, .b = {}};
  // Another shape at the same place is a part of the tensor: the rules do not see through that.
  if (found->second.first.shape() != x.shape()) failed_ = true;
  return found->second.second;
}

void Lowering::read_from_memory(const Tensor& x) {
  const auto found = values_.find(x.raw());
  if (found->second.second.relu) not_negative_.insert(x.raw());
  values_.erase(found);
  const Value stored = value_of(x);
  for (auto& [address, codes] : codes_)
    if (is_same(codes.of, x)) codes.value = stored;
}

Operand Lowering::operand_of(const Tensor& x) {
  Value value = value_of(x);
  if (value.b) {
    store(x.raw());
    value = value_of(x);
  }
  value.a.relu = value.a.relu || value.relu;
  return value.a;
}

Operand Lowering::normalised(const Tensor& x, const BatchNormTerms& norm) {
  if (!is_raw(operand_of(x))) store(x.raw());
  Operand operand = operand_of(x);
  operand.norm = norm;
  return operand;
}

bool Lowering::quantize_activation(const TracedCall& call) {
  const auto& x = call.get<Tensor>(0);
  const auto& out = call.get<Quantized>(2);
  if (!out.exact()) return false;
  codes_.insert({out.codes.raw(), {value_of(x), x, call.get<Tensor>(1), out}});
  return true;
}

bool Lowering::norm_relu_quantize(const TracedCall& call) {
  const auto& x = call.get<Tensor>(0);
  const auto& out = call.get<Quantized>(3);
  if (!out.exact()) return false;
  const Value value{normalised(x, call.get<BatchNormTerms>(1)), {}, true};
  codes_.insert({out.codes.raw(), {value, {}, call.get<Tensor>(2), out}});
  return true;
}

bool Lowering::norm_relu(const TracedCall& call) {
  const auto& y = call.get<Tensor>(2);
  const Value value{normalised(call.get<Tensor>(0), call.get<BatchNormTerms>(1)), {}, true};
  values_.insert({y.raw(), {y, value}});
  if (image_ && is_same(image_->y, call.get<Tensor>(0))) {
    image_->value = y;
    image_->calls += calls_with({image_->y, y});
  }
  return true;
}

bool Lowering::norm_add_relu(const TracedCall& call) {
  const auto& y = call.get<Tensor>(3);
  const Operand shortcut = operand_of(call.get<Tensor>(2));
  const Value value{normalised(call.get<Tensor>(0), call.get<BatchNormTerms>(1)), shortcut, true};
  values_.insert({y.raw(), {y, value}});
  return true;
}

bool Lowering::batch_norm(const TracedCall& call) {
  const auto& y = call.get<Tensor>(6);
  const BatchNormTerms norm{call.get<Tensor>(1), call.get<Tensor>(2), call.get<Tensor>(3),
                            call.get<Tensor>(4), call.get<double>(5), false};
  values_.insert({y.raw(), {y, Value{normalised(call.get<Tensor>(0), norm), {}, false}}});
  return true;
}

bool Lowering::fusable(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry) const {
  return weight_of_codes_.contains(w.codes.raw()) && x.codes.dtype() == DType::u8 && geometry.groups == 1 &&
         w.shape()[0] % kChannelTile == 0 && w.shape()[3] % kChannelTile == 0 &&
         fits_convolution(sizes_of(x.shape(), w.shape(), geometry));
}

template <typename Output>
const TracedCall* Lowering::take_update(const Tensor& mean, Output& output) {
  const size_t next = next_use(mean);
  if (next == trace_.size() || trace_[next].name != "update_running_statistics") return nullptr;
  const TracedCall& update = trace_[next];
  output.momentum = update.get<double>(3);
  output.running_mean = update.get<Tensor>(4);
  output.running_variance = update.get<Tensor>(5);
  done_[next] = true;
  return &update;
}

StatisticsOutput Lowering::statistics_of(const Tensor& mean, const Tensor& variance, int64_t channels) {
  StatisticsOutput result{Tensor::zeros({2, channels}, DType::i64, kCuda), mean, variance, {}, {}, 0};
  take_update(mean, result);
  return result;
}

// With its statistics, which follow it at once. It is launched where no chain computes it.
bool Lowering::convolve_image(const TracedCall& call) {
  const auto &x = call.get<Tensor>(0), &w = call.get<Tensor>(1), &y = call.get<Tensor>(3);
  const auto& geometry = call.get<Conv2dGeometry>(2);
  const size_t next = next_use(y);
  if (image_ || !fits_image_chain(x.shape(), w.shape(), geometry) || next == trace_.size() ||
      trace_[next].name != "batch_statistics" || trace_[next].get<Tensor>(0).shape() != y.shape())  // of a part of it
    return false;
  for (const Address address : call.addresses) store(address);
  image_ = std::make_shared<ImageConvolution>();
  image_->x = x;
  image_->w = w;
  image_->geometry = geometry;
  image_->y = y;
  image_->mean = trace_[next].get<Tensor>(1);
  image_->variance = trace_[next].get<Tensor>(2);
  done_[next] = true;
  std::vector<TracedCall> calls{call, trace_[next]};
  if (const TracedCall* const update = take_update(image_->mean, *image_)) calls.push_back(*update);
  emit([image = image_, calls] {
    if (!image->is_read()) return;
    for (const TracedCall& own : calls) own.replay(own, cuda_kernels());
  });
  return true;
}

// Of whole images, where a chain that waits ends with the value: it stores both.
bool Lowering::average_pool(const TracedCall& call) {
  const auto &x = call.get<Tensor>(0), &y = call.get<Tensor>(2);
  if (!values_.contains(x.raw()) || !is_of_whole_images(x.shape(), call.get<PoolGeometry>(1))) return false;
  if (!forward_chain_.end_with({value_of(x), x, y})) return false;
  read_from_memory(x);
  return true;
}

bool Lowering::convolve(const TracedCall& call) {
  const auto &x = call.get<Quantized>(0), &w = call.get<Quantized>(1);
  const auto& geometry = call.get<Conv2dGeometry>(2);
  const auto &y = call.get<Tensor>(3), &mean = call.get<Tensor>(4);
  if (!fusable(x, w, geometry)) return false;
  ++convolutions_;
  Sums sums{Tensor(y.shape(), DType::s16, kCuda), Tensor(y.shape(), DType::s32, kCuda), x.step, w.step};
  StatisticsOutput statistics = statistics_of(mean, call.get<Tensor>(5), y.size(3));
  values_.insert({y.raw(), {y, Value{{.values = {}, .sums = sums, .norm = {}}, {}, false}}});

  const auto found = codes_.find(x.codes.raw());
  if (found == codes_.end()) {
    emit([=]() mutable { launch_convolve_codes(x, w, geometry, sums, statistics); });
    return true;
  }
  QuantizedValue codes{found->second.value, found->second.alpha, x};
  // A sum of two is read again by a shortcut and by the gradient: the first reader stores it for them.
  Tensor values;
  if (codes.value.b && values_.contains(found->second.of.raw())) values = found->second.of;
  codes_.erase(found);
  if (values.defined()) read_from_memory(values);
  std::shared_ptr<StoredValue> stored;
  if (values.defined()) {
    stored = std::make_shared<StoredValue>(StoredValue{values, calls_with({values}), {}});
    stored_values_[values.raw()] = stored;
  }
  if (w.shape()[0] <= kFusedChannels) {
    const QuantizedConvolution convolution{codes, values, w, geometry, sums, statistics};
    if (!gradient_chain_.empty()) end_chains();
    if (!forward_chain_.add(convolution, stored)) {
      end_chains();
      if (!forward_chain_.add(convolution, stored))
        emit([own = QuantizedConvolution(convolution)]() mutable { launch_quantize_and_convolve(own); });
    }
  } else {
    emit([=]() mutable { launch_evaluate(codes.value, values, &codes); });
    emit([=]() mutable { launch_convolve_codes(x, w, geometry, sums, statistics); });
  }
  return true;
}

}  // namespace apotnet::cuda
