#include "core/kernels/codes.h"

#include <algorithm>
#include <cmath>

#include "core/base/error.h"
#include "core/kernels/reference/reference.h"
#include "core/quant/projection.h"

namespace apotnet {
namespace {

// body(image, row, column, output, sum) for every sum.
template <typename Code, typename Body>
void for_each_sum_of(const CodesConvolution& conv, const Body& body) {
  const Shape &xs = conv.x.shape(), &ws = conv.w.shape();
  const Conv2dGeometry& g = conv.geometry;
  const int64_t outputs_per_group = ws[0] / g.groups;
  const auto x = conv.x.data<Code>();
  const auto w = conv.w.data<int8_t>();
  const auto sum_at = [&](int64_t n, int64_t row, int64_t column, int64_t o) {
    int32_t sum = 0;
    for (int64_t ky = 0; ky < ws[1]; ++ky)
      for (int64_t kx = 0; kx < ws[2]; ++kx) {
        const int64_t iy = row * g.stride + ky - g.padding, ix = column * g.stride + kx - g.padding;
        if (iy < 0 || iy >= xs[1] || ix < 0 || ix >= xs[2]) continue;
        const Code* pixel = &x[static_cast<size_t>(((n * xs[1] + iy) * xs[2] + ix) * xs[3])];
        const int8_t* weights = &w[static_cast<size_t>(((o * ws[1] + ky) * ws[2] + kx) * ws[3])];
        for (int64_t c = 0; c < ws[3]; ++c) sum += int32_t{pixel[o / outputs_per_group * ws[3] + c]} * weights[c];
      }
    return sum;
  };
  for (int64_t n = 0; n < xs[0]; ++n)
    for (int64_t row = 0; row < g.output_size(xs[1], ws[1]); ++row)
      for (int64_t column = 0; column < g.output_size(xs[2], ws[2]); ++column)
        for (int64_t o = 0; o < ws[0]; ++o) body(n, row, column, o, sum_at(n, row, column, o));
}

template <typename Body>
void for_each_sum(const CodesConvolution& conv, const Body& body) {
  if (conv.x.dtype() == DType::s8)
    for_each_sum_of<int8_t>(conv, body);
  else
    for_each_sum_of<uint8_t>(conv, body);
}

size_t place(const Tensor& tensor, int64_t n, int64_t row, int64_t column, int64_t c) {
  return static_cast<size_t>(((n * tensor.size(1) + row) * tensor.size(2) + column) * tensor.size(3) + c);
}

void quantize(float value, CodesOutput& out, size_t at) {
  const float z = value / out.alpha, magnitude = std::abs(z);
  const auto code_of = [&](float x) {
    const float clamped = x > 0 ? std::min(x, 1.0f) : 0;  // a NaN takes level 0
    return out.table.data<uint8_t>()[static_cast<size_t>(half_steps(clamped, out.k, out.ties_to_lower))];
  };
  if (out.codes.dtype() == DType::u8)
    out.codes.data<uint8_t>()[at] = code_of(z);
  else
    out.codes.data<int8_t>()[at] = static_cast<int8_t>(z < 0 ? -code_of(magnitude) : code_of(magnitude));
}

// What becomes of y at this place.
void finish(float y, const ValueTerms& terms, ValuesOutput& out, int64_t n, int64_t row, int64_t column, int64_t c) {
  const auto channel = static_cast<size_t>(c);
  float value = y;
  if (terms.scale.defined()) value = value * terms.scale.data<float>()[channel] + terms.shift.data<float>()[channel];
  if (terms.shortcut.defined()) value = value + terms.shortcut.data<float>()[place(terms.shortcut, n, row, column, c)];
  if (terms.relu) value = value < 0 ? 0 : value;
  if (out.values.defined()) out.values.data<float>()[place(out.values, n, row, column, c)] = value;
  for (CodesOutput& codes : out.codes) quantize(value, codes, place(codes.codes, n, row, column, c));
}

}  // namespace

void ReferenceCodes::convolve_to_codes(const CodesConvolution& convolution, const ChannelThresholds& thresholds,
                                       Tensor& codes) const {
  const auto count = static_cast<size_t>(thresholds.values.size(1));
  const auto values = thresholds.values.data<int32_t>();
  const auto rising = thresholds.rising.data<uint8_t>(), levels = thresholds.levels.data<uint8_t>();
  for_each_sum(convolution, [&](int64_t n, int64_t row, int64_t column, int64_t o, int32_t sum) {
    const auto own = values.subspan(static_cast<size_t>(o) * count, count);
    const auto reached = static_cast<size_t>(std::ranges::upper_bound(own, sum) - own.begin());
    codes.data<uint8_t>()[place(codes, n, row, column, o)] =
        levels[rising[static_cast<size_t>(o)] ? reached : count - reached];
  });
}

void ReferenceCodes::convolve_to_values(const CodesConvolution& convolution, const ValueTerms& terms,
                                        ValuesOutput& out) const {
  for_each_sum(convolution, [&](int64_t n, int64_t row, int64_t column, int64_t o, int32_t sum) {
    finish(static_cast<float>(sum) * terms.step, terms, out, n, row, column, o);
  });
}

void ReferenceCodes::plane_to_values(const Tensor& y, const ValueTerms& terms, ValuesOutput& out) const {
  const auto values = y.data<float>();
  for (int64_t n = 0; n < y.size(0); ++n)
    for (int64_t row = 0; row < y.size(1); ++row)
      for (int64_t column = 0; column < y.size(2); ++column)
        for (int64_t c = 0; c < y.size(3); ++c)
          finish(values[place(y, n, row, column, c)], terms, out, n, row, column, c);
}

}  // namespace apotnet
