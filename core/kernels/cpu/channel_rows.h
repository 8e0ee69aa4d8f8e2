#pragma once

#include <algorithm>
#include <vector>

#include "core/base/parallel.h"
#include "core/tensor/tensor.h"

namespace apotnet {

/// A tensor [..., channels] as the channel loops of loops.h want it: rows of `width` elements, several pixels side by
/// side, so that the loop over a row is long even where a pixel has few channels. Per-channel arrays are repeated to
/// that width. The rows are cut into chunks of about 32,768 elements.
class ChannelRows {
 public:
  explicit ChannelRows(const Tensor& x, int64_t channels)
      : channels_(channels),
        width_(std::max<int64_t>(1, 64 / channels) * channels),
        elements_(x.elements()),
        grain_(std::max<int64_t>(1, (1 << 15) / width_) * width_) {}

  int64_t pixels() const { return elements_ / channels_; }
  int64_t chunks() const { return (elements_ + grain_ - 1) / grain_; }

  /// One value per channel as loops of this width read it.
  template <typename Value, typename ChannelValue>
  std::vector<Value> widened(ChannelValue&& value) const {
    std::vector<Value> wide(static_cast<size_t>(width_));
    for (size_t i = 0; i < wide.size(); ++i)
      wide[i] = i < static_cast<size_t>(channels_) ? value(i) : wide[i - static_cast<size_t>(channels_)];
    return wide;
  }

  /// body(chunk, first element, rows, width) for every chunk, and once more for the pixels left over at the end, where
  /// the width is smaller.
  template <typename Body>
  void for_each(Body&& body) const {
    parallel_for(chunks(), [&](int64_t chunk) {
      const int64_t first = chunk * grain_, size = std::min(grain_, elements_ - first), rest = size % width_;
      if (size > rest) body(chunk, first, size / width_, width_);
      if (rest > 0) body(chunk, first + size - rest, int64_t{1}, rest);
    });
  }

  struct Sums {
    std::vector<double> a, b;  // one of each per channel
  };
  /// Two sums per channel: body(chunk, first element, rows, width, a, b) adds to `width` sums of each kind. The order
  /// of the additions depends on the shape alone.
  template <typename Body>
  Sums sum(Body&& body) const {
    const auto wide = static_cast<size_t>(width_), narrow = static_cast<size_t>(channels_);
    // A tensor for its alignment: sums that straddle cache lines take three times as long.
    Tensor memory = Tensor::zeros({chunks(), 2, width_}, DType::f64);
    const std::span<double> partial = memory.data<double>();
    for_each([&](int64_t chunk, int64_t first, int64_t rows, int64_t width) {
      double* sums = partial.data() + 2 * static_cast<size_t>(chunk) * wide;
      body(chunk, first, rows, width, sums, sums + wide);
    });
    Sums total{std::vector<double>(narrow), std::vector<double>(narrow)};
    for (size_t i = 0; i < partial.size(); ++i)
      (i / wide % 2 == 0 ? total.a : total.b)[i % wide % narrow] += partial[i];
    return total;
  }

 private:
  int64_t channels_, width_, elements_, grain_;
};

/// Per channel, rounded once, as the channel loops read them: scale and shift of batch norm (F10).
struct ScaleShift {
  std::vector<float> scale, shift;
  ScaleShift(const ChannelRows& rows, const Tensor& mean, const Tensor& variance, const Tensor& gamma,
             const Tensor& beta, double epsilon);
};

/// gx = g * a + (x * b + c), the gradient of batch norm (F11), and the gradients of its parameters.
struct NormGradient {
  std::vector<float> a, b, c;
  /// From the sums of g and of g * (x - mean) per channel.
  NormGradient(const ChannelRows& rows, const ChannelRows::Sums& sums, const Tensor& mean, const Tensor& variance,
               const Tensor& gamma, double epsilon, bool constant_statistics, Tensor& ggamma, Tensor& gbeta);
};

}  // namespace apotnet
