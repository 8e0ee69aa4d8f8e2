// What describes the vendors' work, without the vendors: shared by the production library and by its emulation.
#include <algorithm>
#include <limits>

#include "core/base/error.h"
#include "core/kernels/cuda/convolution_plan.h"
#include "core/kernels/cuda/gemm.h"

namespace apotnet::cuda {
namespace {

// A dense tensor of [first, rows, columns, channels] in the order N, C, H, W.
TensorDescription channels_last(int64_t id, DType dtype, const Shape& shape) {
  require(shape.rank() == 4, "a convolution needs tensors of four dimensions, got ", shape);
  const int64_t row = shape[2] * shape[3];
  return {id, dtype, {shape[0], shape[3], shape[1], shape[2]}, {shape[1] * row, 1, row, shape[3]}};
}

std::string sizes_text(const TensorDescription& tensor) {
  const auto& s = tensor.sizes;
  return text(s[0], "x", s[1], "x", s[2], "x", s[3]);
}

// Two elements of one address would make a tensor that is written depend on the order of writing.
bool overlaps(const TensorDescription& tensor) {
  std::array<size_t, 4> order{0, 1, 2, 3};
  std::ranges::sort(order, {}, [&](size_t i) { return tensor.strides[i]; });
  int64_t reach = 1;
  for (const size_t i : order) {
    if (tensor.sizes[i] == 1) continue;
    if (tensor.strides[i] < reach) return true;
    reach = tensor.strides[i] * tensor.sizes[i];
  }
  return false;
}

void check_tensor(const ConvolutionDescription& description, const TensorDescription& tensor, const char* name) {
  for (size_t i = 0; i < 4; ++i)
    require(tensor.sizes[i] > 0 && tensor.sizes[i] <= std::numeric_limits<int32_t>::max(), name, " has a size of ",
            tensor.sizes[i], ": ", description.text());
  require(!overlaps(tensor), name, " has strides by which elements overlap: ", description.text());
  const DType factor = description.arithmetic == Arithmetic::bf16 ? DType::bf16 : DType::f32;
  if (&tensor == &description.output())
    require(tensor.dtype == DType::f32 || (tensor.dtype == DType::bf16 && factor == DType::bf16), name,
            " cannot be written as ", apotnet::name_of(tensor.dtype), ": ", description.text());
  else
    require(tensor.dtype == factor, name, " is ", apotnet::name_of(tensor.dtype), ": ", description.text());
}

}  // namespace

std::string_view name_of(ConvolutionOperation operation) {
  constexpr std::array<std::string_view, 3> names{"forward", "input_gradient", "weight_gradient"};
  return names[static_cast<size_t>(operation)];
}

std::string_view name_of(Arithmetic arithmetic) {
  constexpr std::array<std::string_view, 3> names{"f32", "tf32", "bf16"};
  return names[static_cast<size_t>(arithmetic)];
}

const TensorDescription& ConvolutionDescription::output() const {
  if (operation == ConvolutionOperation::forward) return y;
  return operation == ConvolutionOperation::input_gradient ? x : w;
}

std::string ConvolutionDescription::text() const {
  return apotnet::text(name_of(operation), " ", name_of(arithmetic), " to ", apotnet::name_of(output().dtype), ", x ",
                       sizes_text(x), ", w ", sizes_text(w), ", padding ", padding[0], "x", padding[1], ", stride ",
                       stride[0], "x", stride[1], ", groups ", groups);
}

ConvolutionDescription describe_convolution(ConvolutionOperation operation, Arithmetic arithmetic, const Shape& x,
                                            const Shape& w, const Conv2dGeometry& geometry, DType output) {
  const DType factor = arithmetic == Arithmetic::bf16 ? DType::bf16 : DType::f32;
  const auto type = [&](ConvolutionOperation written_by) { return operation == written_by ? output : factor; };
  ConvolutionDescription description{operation, arithmetic, {}, {}, {}, {}, {}, geometry.groups};
  description.x = channels_last(1, type(ConvolutionOperation::input_gradient), x);
  description.w = channels_last(2, type(ConvolutionOperation::weight_gradient), w);
  const Shape y{x[0], geometry.output_size(x[1], w[1]), geometry.output_size(x[2], w[2]), w[0]};
  description.y = channels_last(3, type(ConvolutionOperation::forward), y);
  description.padding = {geometry.padding, geometry.padding};
  description.stride = {geometry.stride, geometry.stride};
  check_description(description);
  return description;
}

void check_description(const ConvolutionDescription& description) {
  const auto& [operation, arithmetic, x, w, y, padding, stride, groups] = description;
  require(x.id != w.id && w.id != y.id && y.id != x.id, "two tensors of one id: ", description.text());
  check_tensor(description, x, "x");
  check_tensor(description, w, "w");
  check_tensor(description, y, "y");
  require(groups > 0 && x.sizes[1] == groups * w.sizes[1] && y.sizes[1] == w.sizes[0] && w.sizes[0] % groups == 0,
          "channels and groups do not fit: ", description.text());
  require(x.sizes[0] == y.sizes[0], "x and y hold different numbers of images: ", description.text());
  for (size_t i = 0; i < 2; ++i) {
    require(stride[i] > 0 && padding[i] >= 0, "a stride below 1 or a padding below 0: ", description.text());
    const int64_t room = x.sizes[2 + i] + 2 * padding[i] - w.sizes[2 + i];
    require(room >= 0 && y.sizes[2 + i] == room / stride[i] + 1, "the output's size is not ", room / stride[i] + 1,
            ": ", description.text());
  }
}

GemmDescription describe_gemm(Arithmetic arithmetic, int64_t m, int64_t n, int64_t k, bool transpose_a,
                              bool transpose_b) {
  GemmDescription description{m, n, k, transpose_a, transpose_b, 0, 0, n, arithmetic, DType::f32};
  description.a_stride = description.a_columns();
  description.b_stride = description.b_columns();
  check_description(description);
  return description;
}

void check_description(const GemmDescription& description) {
  const auto& [m, n, k, transpose_a, transpose_b, a_stride, b_stride, c_stride, arithmetic, output] = description;
  constexpr int64_t kLargest = std::numeric_limits<int32_t>::max();
  for (const int64_t size : {m, n, k, a_stride, b_stride, c_stride})
    require(size > 0 && size <= kLargest, "a product of matrices with a size or leading dimension of ", size);
  require(a_stride >= description.a_columns(), "leading dimension ", a_stride, " of a is below its row");
  require(b_stride >= description.b_columns(), "leading dimension ", b_stride, " of b is below its row");
  require(c_stride >= n, "leading dimension ", c_stride, " of c is below its row");
  require(output == DType::f32 || (output == DType::bf16 && arithmetic == Arithmetic::bf16), "a product of ",
          name_of(arithmetic), " matrices cannot be written as ", apotnet::name_of(output));
}

}  // namespace apotnet::cuda
