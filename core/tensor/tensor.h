#pragma once

#include <memory>
#include <span>
#include <vector>

#include "core/tensor/buffer.h"
#include "core/tensor/dispatch.h"
#include "core/tensor/dtype.h"
#include "core/tensor/shape.h"

namespace apotnet {

/// A dense array on a device. Copying copies the handle, not the elements. There are no strides:
/// activations are [N, H, W, C], weights [O, H, W, I]; PyTorch's layouts exist only in core/io.
class Tensor {
 public:
  /// The empty handle, as a default: defined() is false.
  Tensor() = default;
  /// Elements are undefined.
  Tensor(const Shape& shape, DType dtype, Device device = {});

  static Tensor zeros(const Shape& shape, DType dtype, Device device = {});
  static Tensor full(const Shape& shape, DType dtype, double value, Device device = {});
  template <typename T>
  static Tensor from(const Shape& shape, const std::vector<T>& values) {
    Tensor result(shape, dtype_of<T>());
    result.copy_from(std::as_bytes(std::span(values)));
    return result;
  }
  static Tensor scalar(double value, DType dtype) { return full({}, dtype, value); }

  bool defined() const { return buffer_ != nullptr; }
  const Shape& shape() const { return shape_; }
  int64_t size(int dimension) const { return shape_[dimension]; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  int64_t elements() const { return elements_; }
  size_t bytes() const { return static_cast<size_t>(elements_) * size_of(dtype_); }

  bool on_cpu() const { return device_.type == DeviceType::cpu; }

  /// The elements of a CPU tensor; Error(internal) when T is not its element type or they lie on another device.
  template <typename T>
  std::span<T> data() {
    check_type(dtype_of<T>());
    return {reinterpret_cast<T*>(raw()), static_cast<size_t>(elements_)};
  }
  template <typename T>
  std::span<const T> data() const {
    check_type(dtype_of<T>());
    return {reinterpret_cast<const T*>(raw()), static_cast<size_t>(elements_)};
  }
  /// Their address, on whatever device.
  std::byte* raw() { return buffer_ ? buffer_->data() + offset_ : nullptr; }
  const std::byte* raw() const { return buffer_ ? buffer_->data() + offset_ : nullptr; }

  /// The one element of a one-element tensor as a double.
  double item() const;
  /// Room for another tensor of this type on this device; elements are undefined.
  Tensor like(const Shape& shape) const { return Tensor(shape, dtype_, device_); }
  /// The same elements on `device`: a copy, or this very tensor where it is there already. The one way between devices
  /// besides copy_from().
  Tensor on(Device device) const;
  /// A tensor of its own with the same elements.
  Tensor clone() const;
  /// Whether no other handle shares the elements, so that they may be changed in place unseen.
  bool unshared() const { return buffer_.use_count() - buffer_->watchers() == 1; }
  /// While one lives, one of the handles is known to keep the memory alone and not the elements, as a record of calls
  /// does that are still to run: unshared() does not count it. Goes before the handle does.
  class Watch;
  /// The same elements under another shape of as many.
  Tensor reshaped(const Shape& shape) const;
  /// Entries [first, first + count) of the outermost dimension, in the same memory: changing one changes the other.
  Tensor part(int64_t first, int64_t count) const;
  /// The elements converted one by one to another type (a float to an integer truncates).
  Tensor to(DType dtype) const;
  void copy_from(std::span<const std::byte> bytes);
  void fill(double value);

 private:
  void check_type(DType wanted) const;

  Shape shape_;
  DType dtype_ = DType::f32;
  Device device_;
  int64_t elements_ = 0;
  std::shared_ptr<Buffer> buffer_;
  size_t offset_ = 0;  // of the first element in the buffer, in bytes
};

class Tensor::Watch {
 public:
  explicit Watch(const Tensor& handle) : buffer_(handle.buffer_.get()) { count(1); }
  Watch(const Watch& other) : buffer_(other.buffer_) { count(1); }
  Watch& operator=(const Watch&) = delete;
  ~Watch() { count(-1); }

 private:
  void count(long by) {
    if (buffer_) buffer_->watchers() += by;
  }

  Buffer* buffer_;
};

}  // namespace apotnet
