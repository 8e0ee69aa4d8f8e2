#include <algorithm>

#include "core/kernels/reference/reference.h"

namespace apotnet {
namespace {

// The shape of one convolution under short names: image h x w x c, kernel kh x kw, output oh x ow x o.
struct Problem {
  int64_t n, h, w, c, kh, kw, o, oh, ow, stride, padding, groups;

  Problem(const Shape& x, const Shape& weight, const Shape& y, const Conv2dGeometry& geometry)
      : n(x[0]),
        h(x[1]),
        w(x[2]),
        c(x[3]),
        kh(weight[1]),
        kw(weight[2]),
        o(weight[0]),
        oh(y[1]),
        ow(y[2]),
        stride(geometry.stride),
        padding(geometry.padding),
        groups(geometry.groups) {}

  // Calls f(x index, w index, y index) for every product of the convolution y[..] += x[..] * w[..].
  template <typename F>
  void for_each_product(F&& f) const {
    const int64_t c_group = c / groups, o_group = o / groups;
    for (int64_t image = 0; image < n; ++image)
      for (int64_t row = 0; row < oh; ++row)
        for (int64_t column = 0; column < ow; ++column)
          for (int64_t out = 0; out < o; ++out)
            for (int64_t i = 0; i < kh; ++i)
              for (int64_t j = 0; j < kw; ++j) {
                const int64_t y0 = row * stride + i - padding, x0 = column * stride + j - padding;
                if (y0 < 0 || y0 >= h || x0 < 0 || x0 >= w) continue;
                for (int64_t in = 0; in < c_group; ++in)
                  f(((image * h + y0) * w + x0) * c + out / o_group * c_group + in,
                    ((out * kh + i) * kw + j) * c_group + in, ((image * oh + row) * ow + column) * o + out);
              }
  }
};

// Sums are kept in `Sum` (double for floats, 64-bit for codes) and stored once.
template <typename Sum, typename Store>
void store_sums(const std::vector<Sum>& sums, std::span<Store> out) {
  std::ranges::transform(sums, out.begin(), [](Sum sum) { return static_cast<Store>(sum); });
}

// Codes of an input, without a sign or with one.
template <typename F>
void dispatch_codes(DType dtype, F&& f) {
  dtype == DType::s8 ? f(int8_t{}) : f(uint8_t{});
}

}  // namespace

void ReferenceConv::conv2d(const Tensor& x, const Tensor& w, const Conv2dGeometry& geometry, Tensor& y) const {
  dispatch_float(x.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto xs = x.data<Float>(), ws = w.data<Float>();
    std::vector<double> sums(static_cast<size_t>(y.elements()));
    Problem(x.shape(), w.shape(), y.shape(), geometry).for_each_product([&](int64_t i, int64_t j, int64_t k) {
      sums[static_cast<size_t>(k)] += static_cast<double>(xs[static_cast<size_t>(i)]) * ws[static_cast<size_t>(j)];
    });
    store_sums(sums, y.data<Float>());
  });
}

void ReferenceConv::conv2d_backward_input(const Tensor& gy, const Tensor& w, const Conv2dGeometry& geometry,
                                          Tensor& gx) const {
  dispatch_float(gy.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto gys = gy.data<Float>(), ws = w.data<Float>();
    std::vector<double> sums(static_cast<size_t>(gx.elements()));
    Problem(gx.shape(), w.shape(), gy.shape(), geometry).for_each_product([&](int64_t i, int64_t j, int64_t k) {
      sums[static_cast<size_t>(i)] += static_cast<double>(gys[static_cast<size_t>(k)]) * ws[static_cast<size_t>(j)];
    });
    store_sums(sums, gx.data<Float>());
  });
}

void ReferenceConv::conv2d_backward_weight(const Tensor& gy, const Tensor& x, const Conv2dGeometry& geometry,
                                           Tensor& gw) const {
  dispatch_float(gy.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const auto gys = gy.data<Float>(), xs = x.data<Float>();
    std::vector<double> sums(static_cast<size_t>(gw.elements()));
    Problem(x.shape(), gw.shape(), gy.shape(), geometry).for_each_product([&](int64_t i, int64_t j, int64_t k) {
      sums[static_cast<size_t>(j)] += static_cast<double>(gys[static_cast<size_t>(k)]) * xs[static_cast<size_t>(i)];
    });
    store_sums(sums, gw.data<Float>());
  });
}

void ReferenceConv::conv2d_codes(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry,
                                 Tensor& y) const {
  dispatch_float(y.dtype(), [&](auto zero) {
    using Float = decltype(zero);
    const Float step = x.step.data<Float>()[0] * w.step.data<Float>()[0];
    const auto ys = y.data<Float>();
    const Problem problem(x.shape(), w.shape(), y.shape(), geometry);
    if (x.exact() && w.exact()) {
      const auto ws = w.codes.data<int8_t>();
      std::vector<int32_t> sums(ys.size());
      dispatch_codes(x.codes.dtype(), [&](auto code) {
        const auto xs = x.codes.data<decltype(code)>();
        problem.for_each_product([&](int64_t i, int64_t j, int64_t k) {
          sums[static_cast<size_t>(k)] += int32_t{xs[static_cast<size_t>(i)]} * ws[static_cast<size_t>(j)];
        });
      });
      std::ranges::transform(sums, ys.begin(), [&](int32_t sum) { return static_cast<Float>(sum) * step; });
    } else {  // a level set too wide for 8 bits: the integers are convolved as floats
      conv2d(x.codes.to(y.dtype()), w.codes.to(y.dtype()), geometry, y);
      for (Float& value : ys) value *= step;
    }
  });
}

void ReferenceConv::conv2d_codes_statistics(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry,
                                            Tensor& y, Tensor& mean, Tensor& variance) const {
  conv2d_codes(x, w, geometry, y);
  ReferenceNorm().batch_statistics(y, mean, variance);
}

void ReferenceConv::conv2d_codes_backward_input(const Tensor& gy, const Quantized& w, const Conv2dGeometry& geometry,
                                                Tensor& gx) const {
  Tensor values(w.shape(), gy.dtype());
  ReferenceQuantize().dequantize(w, values);
  conv2d_backward_input(gy, values, geometry, gx);
}

void ReferenceConv::conv2d_codes_backward_weight(const Tensor& gy, const Quantized& x, const Conv2dGeometry& geometry,
                                                 Tensor& gw) const {
  Tensor values(x.shape(), gy.dtype());
  ReferenceQuantize().dequantize(x, values);
  conv2d_backward_weight(gy, values, geometry, gw);
}

}  // namespace apotnet
