// Takes the place of convolution_cudnn.cpp: plain loops that see the tensors through the description alone.
#include <bit>
#include <cstring>
#include <utility>
#include <vector>

#include "core/base/error.h"
#include "core/kernels/cuda/convolution_plan.h"
#include "tests/emulation/runtime.h"
#include "tests/emulation/vendor_checks.h"

namespace apotnet::cuda {
namespace {

using emulation::rounded;

size_t reach(const TensorDescription& t) {
  size_t last = 0;
  for (size_t i = 0; i < 4; ++i) last += static_cast<size_t>((t.sizes[i] - 1) * t.strides[i]);
  return (last + 1) * size_of(t.dtype);
}

// Calls f(n, c, h, w, offset in elements) in the order of a dense [N, H, W, C].
template <typename F>
void for_each_element(const TensorDescription& t, F&& f) {
  for (int64_t n = 0; n < t.sizes[0]; ++n)
    for (int64_t h = 0; h < t.sizes[2]; ++h)
      for (int64_t w = 0; w < t.sizes[3]; ++w)
        for (int64_t c = 0; c < t.sizes[1]; ++c)
          f(n * t.strides[0] + c * t.strides[1] + h * t.strides[2] + w * t.strides[3]);
}

// The tensor as a dense [N, H, W, C], its numbers rounded as the arithmetic does.
std::vector<double> gathered(const TensorDescription& t, Arithmetic arithmetic, const void* data) {
  std::vector<double> values;
  for_each_element(t, [&](int64_t i) { values.push_back(rounded(emulation::read(data, t.dtype, i), arithmetic)); });
  return values;
}

void scatter(const TensorDescription& t, const std::vector<double>& values, void* data) {
  size_t next = 0;
  for_each_element(t, [&](int64_t i) { emulation::write(data, t.dtype, i, values[next++]); });
}

// Calls f(first x of the pixel, first w of the tap, first y of the pixel) for each pixel and tap, all dense, N H W C.
template <typename F>
void for_each_tap(const ConvolutionDescription& d, F&& f) {
  const auto [n, c, h, w] = d.x.sizes;
  const auto [o, c_group, kh, kw] = d.w.sizes;
  const auto [yn, yc, oh, ow] = d.y.sizes;
  for (int64_t image = 0; image < n; ++image)
    for (int64_t row = 0; row < oh; ++row)
      for (int64_t column = 0; column < ow; ++column)
        for (int64_t i = 0; i < kh; ++i)
          for (int64_t j = 0; j < kw; ++j) {
            const int64_t y0 = row * d.stride[0] + i - d.padding[0], x0 = column * d.stride[1] + j - d.padding[1];
            if (y0 < 0 || y0 >= h || x0 < 0 || x0 >= w) continue;
            f(static_cast<size_t>(((image * h + y0) * w + x0) * c), static_cast<size_t>(i * kw + j),
              static_cast<size_t>(((image * oh + row) * ow + column) * o));
          }
}

// Sizes of the inner loops: c channels and o outputs of a group.
struct Groups {
  size_t count, c, o, taps, all_outputs;
  explicit Groups(const ConvolutionDescription& d)
      : count(static_cast<size_t>(d.groups)),
        c(static_cast<size_t>(d.w.sizes[1])),
        o(static_cast<size_t>(d.w.sizes[0] / d.groups)),
        taps(static_cast<size_t>(d.w.sizes[2] * d.w.sizes[3])),
        all_outputs(static_cast<size_t>(d.w.sizes[0])) {}
  // Where weight (output, tap, channel) stands with the outputs innermost, and dense O H W C.
  size_t by_output(size_t out, size_t tap, size_t channel) const { return (tap * c + channel) * all_outputs + out; }
  size_t dense(size_t out, size_t tap, size_t channel) const { return (out * taps + tap) * c + channel; }
};

std::vector<double> forward(const ConvolutionDescription& d, const std::vector<double>& x,
                            const std::vector<double>& dense) {
  const Groups g(d);
  std::vector<double> w(dense.size()),
      y(static_cast<size_t>(d.y.sizes[0] * d.y.sizes[1] * d.y.sizes[2] * d.y.sizes[3]));
  for (size_t o = 0; o < g.all_outputs; ++o)
    for (size_t tap = 0; tap < g.taps; ++tap)
      for (size_t c = 0; c < g.c; ++c) w[g.by_output(o, tap, c)] = dense[g.dense(o, tap, c)];
  for_each_tap(d, [&](size_t from, size_t tap, size_t to) {
    for (size_t group = 0; group < g.count; ++group)
      for (size_t c = 0; c < g.c; ++c) {
        const double value = x[from + group * g.c + c];
        const double* const weights = &w[g.by_output(group * g.o, tap, c)];
        double* const out = &y[to + group * g.o];
        for (size_t o = 0; o < g.o; ++o) out[o] += value * weights[o];
      }
  });
  return y;
}

std::vector<double> input_gradient(const ConvolutionDescription& d, const std::vector<double>& y,
                                   const std::vector<double>& w) {
  const Groups g(d);
  std::vector<double> x(static_cast<size_t>(d.x.sizes[0] * d.x.sizes[1] * d.x.sizes[2] * d.x.sizes[3]));
  for_each_tap(d, [&](size_t to, size_t tap, size_t from) {
    for (size_t out = 0; out < g.all_outputs; ++out) {
      const double value = y[from + out];
      const double* const weights = &w[g.dense(out, tap, 0)];
      double* const in = &x[to + out / g.o * g.c];
      for (size_t c = 0; c < g.c; ++c) in[c] += value * weights[c];
    }
  });
  return x;
}

std::vector<double> weight_gradient(const ConvolutionDescription& d, const std::vector<double>& y,
                                    const std::vector<double>& x) {
  const Groups g(d);
  std::vector<double> w(g.all_outputs * g.taps * g.c);
  for_each_tap(d, [&](size_t in, size_t tap, size_t from) {
    for (size_t out = 0; out < g.all_outputs; ++out) {
      const double value = y[from + out];
      const double* const pixel = &x[in + out / g.o * g.c];
      double* const weights = &w[g.dense(out, tap, 0)];
      for (size_t c = 0; c < g.c; ++c) weights[c] += value * pixel[c];
    }
  });
  return w;
}

}  // namespace

struct ConvolutionPlan::Implementation {
  ConvolutionDescription description;
  std::string engine;
};

constexpr int64_t kMostTf32Images = 1000;

// Two engines of each arithmetic that compute the same; those for f32 are no engines for tf32, as with cuDNN.
std::string twin_engine(const ConvolutionDescription& description, int number) {
  return text(description.arithmetic == Arithmetic::f32 ? "twin:f32:" : "twin:", number);
}

ConvolutionPlan::ConvolutionPlan(const ConvolutionDescription& description, const PlanLimits& limits)
    : implementation_(std::make_unique<Implementation>(
          Implementation{description, limits.engine.empty() ? twin_engine(description, 1) : limits.engine})) {
  check_description(description);
  if (engine() != twin_engine(description, 1) && engine() != twin_engine(description, 2))
    fail(ErrorCategory::unavailable, "the twin of cuDNN does not have engine ", engine(), " for ", description.text());
  // As cuDNN where tensor cores would need more workspace than there may be.
  if (description.arithmetic == Arithmetic::tf32 && description.x.sizes[0] >= kMostTf32Images)
    fail(ErrorCategory::unavailable, "the twin of cuDNN has no tf32 kernel for ", description.text());
}
ConvolutionPlan::~ConvolutionPlan() = default;
ConvolutionPlan::ConvolutionPlan(ConvolutionPlan&&) noexcept = default;
ConvolutionPlan& ConvolutionPlan::operator=(ConvolutionPlan&&) noexcept = default;

const ConvolutionDescription& ConvolutionPlan::description() const { return implementation_->description; }
size_t ConvolutionPlan::workspace() const { return 512; }
const std::string& ConvolutionPlan::engine() const { return implementation_->engine; }

void ConvolutionPlan::run(cudaStream_t stream, const void* first, const void* second, void* output,
                          void* workspace) const {
  const ConvolutionDescription& d = description();
  const bool is_forward = d.operation == ConvolutionOperation::forward,
             is_input = d.operation == ConvolutionOperation::input_gradient;
  const TensorDescription &one = is_forward ? d.x : d.y, &two = is_forward || is_input ? d.w : d.x, &out = d.output();
  emulation::require_device_memory(first, reach(one), "the first tensor of a convolution");
  emulation::require_device_memory(second, reach(two), "the second tensor of a convolution");
  emulation::require_device_memory(output, reach(out), "the output of a convolution");
  emulation::require_device_memory(workspace, this->workspace(), "the workspace of a convolution");
  const auto call = [d, one, two, out, is_forward, is_input, first, second, output, workspace] {
    const auto a = gathered(one, d.arithmetic, first), b = gathered(two, d.arithmetic, second);
    std::memset(workspace, 0xAB, 512);  // nobody may count on what lies there
    scatter(out, is_forward ? forward(d, a, b) : is_input ? input_gradient(d, a, b) : weight_gradient(d, a, b), output);
  };
  emulation::require_success(emulation::enqueue_library_call(d.text(), stream, call));
}

}  // namespace apotnet::cuda
