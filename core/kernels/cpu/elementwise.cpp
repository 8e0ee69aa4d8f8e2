#include "core/base/parallel.h"
#include "core/kernels/cpu/cpu.h"
#include "core/kernels/cpu/loops.h"

namespace apotnet {
namespace {

constexpr int64_t kGrain = 1 << 15;  // elements: 128 KiB of each array stay in the second-level cache

}  // namespace

void CpuElementwise::relu(const Tensor& x, Tensor& y) const {
  const float* xs = x.data<float>().data();
  float* ys = y.data<float>().data();
  parallel_ranges(x.elements(), kGrain, [&](int64_t i, int64_t end) { loops().relu(end - i, xs + i, ys + i); });
}

void CpuElementwise::relu_backward(const Tensor& gy, const Tensor& y, Tensor& gx) const {
  const float *gys = gy.data<float>().data(), *ys = y.data<float>().data();
  float* gxs = gx.data<float>().data();
  parallel_ranges(y.elements(), kGrain,
                  [&](int64_t i, int64_t end) { loops().relu_backward(end - i, gys + i, ys + i, gxs + i); });
}

void CpuElementwise::relu6(const Tensor& x, Tensor& y) const {
  const float* xs = x.data<float>().data();
  float* ys = y.data<float>().data();
  parallel_ranges(x.elements(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ys[i] = xs[i] < 0 ? 0 : xs[i] > 6 ? 6 : xs[i];
  });
}

void CpuElementwise::relu6_backward(const Tensor& gy, const Tensor& y, Tensor& gx) const {
  const float *gys = gy.data<float>().data(), *ys = y.data<float>().data();
  float* gxs = gx.data<float>().data();
  parallel_ranges(y.elements(), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) gxs[i] = ys[i] > 0 && ys[i] < 6 ? gys[i] : 0;
  });
}

void CpuElementwise::add(const Tensor& a, const Tensor& b, Tensor& y) const {
  const float *as = a.data<float>().data(), *bs = b.data<float>().data();
  float* ys = y.data<float>().data();
  parallel_ranges(y.elements(), kGrain, [&](int64_t i, int64_t end) { loops().add(end - i, as + i, bs + i, ys + i); });
}

void CpuElementwise::accumulate(const Tensor& x, Tensor& y) const { add(x, y, y); }

void CpuElementwise::scale(const Tensor& x, double factor, Tensor& y) const {
  const float* xs = x.data<float>().data();
  float* ys = y.data<float>().data();
  parallel_ranges(x.elements(), kGrain,
                  [&](int64_t i, int64_t end) { loops().scale(end - i, xs + i, static_cast<float>(factor), ys + i); });
}

void CpuUpdate::sgd(const Tensor& gradient, const SgdSettings& settings, Tensor& parameter, Tensor& velocity) const {
  loops().sgd(parameter.elements(), gradient.data<float>().data(), static_cast<float>(settings.learning_rate),
              static_cast<float>(settings.momentum), static_cast<float>(settings.weight_decay),
              parameter.data<float>().data(), velocity.data<float>().data());
}

}  // namespace apotnet
