#include "tools/bench/kernel_problem.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/base/error.h"
#include "core/base/philox.h"
#include "core/kernels/kernels.h"

namespace apotnet {
namespace {

Tensor random_floats(const Shape& shape, Philox& random) {
  Tensor tensor(shape, DType::f32);
  for (float& value : tensor.data<float>()) value = static_cast<float>(random.normal());
  return tensor;
}

// Every level of the set as likely as any other, so that no kernel can profit from zeros.
Quantized random_codes(const Shape& shape, const LevelSet& levels, bool has_sign, Philox& random) {
  Quantized q{Tensor(shape, has_sign ? DType::s8 : DType::u8), Tensor::scalar(1, DType::f32), &levels};
  const auto draw = [&] { return levels.codes()[random.below(static_cast<uint32_t>(levels.codes().size()))]; };
  if (has_sign)
    for (int8_t& code : q.codes.data<int8_t>()) code = static_cast<int8_t>(random.below(2) ? draw() : -draw());
  else
    for (uint8_t& code : q.codes.data<uint8_t>()) code = static_cast<uint8_t>(draw());
  return q;
}

// The largest difference over the largest value; infinite when an element is no number.
double difference(const Tensor& result, const Tensor& expected) {
  const Tensor a = result.to(DType::f64), b = expected.to(DType::f64);
  double largest = 0, furthest = 0;
  for (size_t i = 0; i < a.data<double>().size(); ++i) {
    const double got = a.data<double>()[i], wanted = b.data<double>()[i];
    if (!std::isfinite(got)) return std::numeric_limits<double>::infinity();
    furthest = std::max(furthest, std::abs(got - wanted));
    largest = std::max(largest, std::abs(wanted));
  }
  return furthest / largest;
}

}  // namespace

const std::vector<KernelShape>& kernel_shapes() {
  static const std::vector<KernelShape> shapes{
      // name           size channels outputs kernel stride
      {"16x32x32", 32, 16, 16, 3, 1},
      {"32x16x16", 16, 32, 32, 3, 1},
      {"64x8x8", 8, 64, 64, 3, 1},
      {"16x32x32 to 32, stride 2", 32, 16, 32, 3, 2},
      {"32x16x16 to 64, stride 2", 16, 32, 64, 3, 2},
      {"16x32x32 to 32, 1x1 stride 2", 32, 16, 32, 1, 2},
      {"32x16x16 to 64, 1x1 stride 2", 16, 32, 64, 1, 2},
  };
  return shapes;
}

std::string_view name_of(KernelTask task) {
  constexpr std::string_view kNames[] = {"codes", "forward", "backward_input", "backward_weight"};
  return kNames[static_cast<int>(task)];
}

KernelProblem KernelProblem::make(const KernelShape& shape, int bits, int64_t batch) {
  Philox random(static_cast<uint64_t>(bits), RandomStream::bench);
  const Shape x{batch, shape.size, shape.size, shape.channels};
  const Shape w{shape.outputs, shape.kernel, shape.kernel, shape.channels};
  KernelProblem problem{shape, batch, {}, {}, random_floats(x, random), random_floats(w, random), {}};
  problem.gy = random_floats(problem.y_shape(), random);
  if (bits < 32) {
    problem.x_codes = random_codes(x, LevelSet::for_activations(LevelMethod::apot, bits), false, random);
    problem.w_codes = random_codes(w, LevelSet::for_weights(LevelMethod::apot, bits), true, random);
  }
  return problem;
}

Shape KernelProblem::result_shape(KernelTask task) const {
  if (task == KernelTask::backward_input) return x.shape();
  return task == KernelTask::backward_weight ? w.shape() : y_shape();
}

ConvShape KernelProblem::conv_shape() const {
  const Conv2dGeometry geometry = shape.geometry();
  return {batch,         shape.size,      shape.size,          shape.channels,
          shape.kernel,  shape.kernel,    shape.output_size(), shape.output_size(),
          shape.outputs, geometry.stride, geometry.padding,    geometry.groups};
}

Tensor KernelProblem::expected(KernelTask task) const {
  const ConvKernels& plain = *reference_kernels().conv;
  const Conv2dGeometry geometry = shape.geometry();
  Tensor result(result_shape(task), DType::f32);
  switch (task) {
    case KernelTask::codes:
      plain.conv2d_codes(x_codes, w_codes, geometry, result);
      break;
    case KernelTask::forward:
      plain.conv2d(x, w, geometry, result);
      break;
    case KernelTask::backward_input:
      plain.conv2d_backward_input(gy, w, geometry, result);
      break;
    case KernelTask::backward_weight:
      plain.conv2d_backward_weight(gy, x, geometry, result);
      break;
  }
  return result;
}

void check_contestant(const KernelContestant& contestant, const KernelShape& shape, int bits) {
  constexpr double kRounding = 1e-4;  // of float32 sums of up to 3,072 products, Winograd's included
  const KernelProblem problem = KernelProblem::make(shape, bits, 3);
  const PreparedKernel prepared = contestant.prepare(problem);
  prepared.run();
  const double found = difference(prepared.result, problem.expected(contestant.task));
  if (found > (contestant.task == KernelTask::codes ? 0 : kRounding))
    fail(ErrorCategory::internal, "bench kernels: ", contestant.name, ", ", shape.name, ", ", bits,
         " bits: differs from the plain loops by ", found, " of the largest result");
}

}  // namespace apotnet
