#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/kernels/conv.h"
#include "core/kernels/cpu/onednn.h"

namespace apotnet {

/// The convolutions of a CIFAR ResNet. The name of a shape says channels x height x width of its input, as the paper's
/// tables do.
struct KernelShape {
  std::string name;
  int64_t size, channels, outputs, kernel, stride;

  Conv2dGeometry geometry() const { return {.stride = stride, .padding = kernel / 2}; }
  int64_t output_size() const { return geometry().output_size(size, kernel); }
  /// Multiply-accumulates of one image, those with the zeros around it included: a kernel that skips them can pass the
  /// machine's peak.
  int64_t products() const { return output_size() * output_size() * outputs * kernel * kernel * channels; }
};
const std::vector<KernelShape>& kernel_shapes();

/// What a kernel computes.
enum class KernelTask { codes, forward, backward_input, backward_weight };

std::string_view name_of(KernelTask task);

/// Operands of one convolution: random codes that take every level, with steps of 1 so that results are the integer
/// sums, and random floats of the same shapes.
struct KernelProblem {
  KernelShape shape;
  int64_t batch;
  Quantized x_codes, w_codes;  ///< defined where bits < 32
  Tensor x, w, gy;             ///< f32

  /// `bits` of both operands: 2 to 5, or 32 for floats alone.
  static KernelProblem make(const KernelShape& shape, int bits, int64_t batch);

  Shape y_shape() const { return {batch, shape.output_size(), shape.output_size(), shape.outputs}; }
  Shape result_shape(KernelTask task) const;
  ConvShape conv_shape() const;
  /// What the plain loops make of it.
  Tensor expected(KernelTask task) const;
};

/// A kernel ready to run: its operands are packed and its result has room.
struct PreparedKernel {
  Tensor result;  ///< f32 or s32, of KernelProblem::result_shape
  std::function<void()> run;
};

/// A way to compute a task. `prepare` does what happens once per network; the problem outlives what it returns.
struct KernelContestant {
  std::string name;
  KernelTask task;
  std::function<PreparedKernel(const KernelProblem&)> prepare;
  std::function<bool(const KernelProblem&)> fits{};  ///< empty: always

  bool takes(const KernelProblem& problem) const { return !fits || fits(problem); }
};

/// All that compete; a new kernel is one more line.
const std::vector<KernelContestant>& kernel_contestants();

/// Error(internal) naming contestant and shape when its result on a small batch is not that of the plain loops: exactly
/// for codes, up to rounding for floats.
void check_contestant(const KernelContestant& contestant, const KernelShape& shape, int bits);

}  // namespace apotnet
