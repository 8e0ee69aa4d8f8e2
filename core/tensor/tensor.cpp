#include "core/tensor/tensor.h"

#include <algorithm>
#include <cstring>

namespace apotnet {

Tensor::Tensor(const Shape& shape, DType dtype, Device device)
    : shape_(shape),
      dtype_(dtype),
      device_(device),
      elements_(shape.elements()),
      buffer_(Buffer::allocate(static_cast<size_t>(elements_) * size_of(dtype), device)) {}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor result(shape, dtype, device);
  if (result.on_cpu())
    std::memset(result.raw(), 0, result.bytes());
  else
    device_memory().fill(result.raw(), 0, 1, result.bytes());
  return result;
}

Tensor Tensor::full(const Shape& shape, DType dtype, double value, Device device) {
  Tensor result(shape, dtype, device);
  result.fill(value);
  return result;
}

void Tensor::fill(double value) {
  dispatch_any(dtype_, [&](auto zero) {
    using T = decltype(zero);
    const T element = static_cast<T>(value);
    if (on_cpu()) {
      std::ranges::fill(data<T>(), element);
      return;
    }
    uint64_t pattern = 0;
    std::memcpy(&pattern, &element, sizeof element);
    device_memory().fill(raw(), pattern, sizeof element, static_cast<size_t>(elements_));
  });
}

double Tensor::item() const {
  require(elements_ == 1, "item() of a tensor of shape ", shape_);
  double value = 0;
  dispatch_any(dtype_, [&](auto zero) { value = static_cast<double>(data<decltype(zero)>()[0]); });
  return value;
}

Tensor Tensor::clone() const {
  if (!defined()) return {};
  Tensor result(shape_, dtype_, device_);
  if (on_cpu())
    std::memcpy(result.raw(), raw(), bytes());
  else
    device_memory().copy(raw(), result.raw(), bytes());
  return result;
}

Tensor Tensor::on(Device device) const {
  if (!defined() || device == device_) return *this;
  Tensor result(shape_, dtype_, device);
  if (on_cpu())
    result.copy_from({raw(), bytes()});
  else
    device_memory().copy_out(raw(), {result.raw(), bytes()});
  return result;
}

Tensor Tensor::reshaped(const Shape& shape) const {
  require(shape.elements() == elements_, "cannot see a tensor of shape ", shape_, " as ", shape);
  Tensor result = *this;
  result.shape_ = shape;
  return result;
}

Tensor Tensor::part(int64_t first, int64_t count) const {
  require(shape_.rank() > 0 && first >= 0 && count > 0 && first + count <= shape_[0], "cannot take entries ", first,
          " to ", first + count, " of a tensor of shape ", shape_);
  std::vector<int64_t> sizes(shape_.sizes().begin(), shape_.sizes().end());
  Tensor result = *this;
  result.offset_ += static_cast<size_t>(first) * bytes() / static_cast<size_t>(shape_[0]);
  sizes[0] = count;
  result.shape_ = Shape(std::span<const int64_t>(sizes));
  result.elements_ = result.shape_.elements();
  return result;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  Tensor result(shape_, dtype, device_);
  dispatch_any(dtype_, [&](auto from) {
    dispatch_any(dtype, [&](auto to) {
      std::ranges::transform(data<decltype(from)>(), result.data<decltype(to)>().begin(),
                             [](auto value) { return static_cast<decltype(to)>(value); });
    });
  });
  return result;
}

void Tensor::copy_from(std::span<const std::byte> source) {
  require(source.size() == bytes(), "copying ", source.size(), " bytes into a tensor of ", bytes());
  if (source.empty()) return;
  if (on_cpu())
    std::memcpy(raw(), source.data(), source.size());
  else
    device_memory().copy_in(source, raw());
}

void Tensor::check_type(DType wanted) const {
  require(defined() && dtype_ == wanted, "a tensor of type ", name_of(dtype_), " read as ", name_of(wanted));
  require(on_cpu(), "the host reads a tensor of shape ", shape_, " that lies on another device; on() copies it");
}

}  // namespace apotnet
