#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "core/kernels/conv.h"
#include "core/tensor/dtype.h"
#include "core/tensor/shape.h"

struct CUstream_st;
using cudaStream_t = CUstream_st*;  // as cuda_runtime.h has it

namespace apotnet::cuda {

enum class ConvolutionOperation : uint8_t { forward, input_gradient, weight_gradient };

/// How products are formed; sums are always f32. f32: plain multiplications. tf32: f32 tensors, factors rounded to
/// 11 significant bits on tensor cores. bf16: bf16 factors on tensor cores. Integer codes of magnitude up to 256 (bf16)
/// or 2048 (tf32) pass both unrounded, so sums of their products below 2^24 are exact integers.
enum class Arithmetic : uint8_t { f32, tf32, bf16 };

std::string_view name_of(ConvolutionOperation operation);
std::string_view name_of(Arithmetic arithmetic);

/// One tensor of a convolution as the vendor is told of it. Sizes and strides (in elements) stand in the order
/// N, C, H, W whatever the layout in memory; for a weight O, C / groups, KH, KW. Ids differ within a description.
struct TensorDescription {
  int64_t id = 0;
  DType dtype = DType::f32;
  std::array<int64_t, 4> sizes{};
  std::array<int64_t, 4> strides{};

  bool operator==(const TensorDescription&) const = default;
};

/// A convolution in full: everything a plan is built from, and nothing else. x, w and y stand for themselves or for
/// their gradients: forward reads x, w and writes y; input_gradient reads y, w and writes x; weight_gradient reads
/// y, x and writes w.
struct ConvolutionDescription {
  ConvolutionOperation operation = ConvolutionOperation::forward;
  Arithmetic arithmetic = Arithmetic::f32;
  TensorDescription x, w, y;
  std::array<int64_t, 2> padding{};  // rows, columns of zeros on either side
  std::array<int64_t, 2> stride{1, 1};
  int64_t groups = 1;

  const TensorDescription& output() const;
  /// One line: "forward bf16 x 128x64x56x56 w 64x64x3x3 pad 1 stride 1".
  std::string text() const;
  bool operator==(const ConvolutionDescription&) const = default;
};

/// Describes a convolution of dense channels-last tensors: x [N, H, W, C], w [O, KH, KW, C / groups],
/// y [N, OH, OW, O]. The two that are read have the type of the arithmetic (f32 or bf16), the one written `output`.
ConvolutionDescription describe_convolution(ConvolutionOperation operation, Arithmetic arithmetic, const Shape& x,
                                            const Shape& w, const Conv2dGeometry& geometry, DType output);

/// Error(internal) naming what contradicts itself: sizes, groups, overlapping strides, ids, types.
void check_description(const ConvolutionDescription& description);

/// What a plan may use.
struct PlanLimits {
  size_t workspace = size_t{512} << 20;  ///< bytes; a plan that wants more is passed over
  std::string engine{};                  ///< that of an earlier plan (ConvolutionPlan::engine); empty: choose
  std::string device{};                  ///< cuDNN's JSON of a device that is only described; empty: the current one
};

/// One convolution, ready to run: the vendor's choice of kernel for a description. Only kernels that give the same
/// bits at every run, and that multiply as `arithmetic` says (no Winograd, no Fourier transform: their sums of codes
/// would not be exact). Making one costs milliseconds to seconds, running it only launches.
class ConvolutionPlan {
 public:
  /// Error(unavailable) without the library, without a kernel within the limits, or when `limits.engine` is not to be
  /// had here.
  explicit ConvolutionPlan(const ConvolutionDescription& description, const PlanLimits& limits = {});
  ~ConvolutionPlan();
  ConvolutionPlan(ConvolutionPlan&&) noexcept;
  ConvolutionPlan& operator=(ConvolutionPlan&&) noexcept;

  const ConvolutionDescription& description() const;
  /// Bytes of device memory that run() needs, aligned to 256; may be 0.
  size_t workspace() const;
  /// The chosen kernel, one word without spaces; the same word in PlanLimits::engine gives the same kernel again.
  const std::string& engine() const;

  /// Launches on `stream`; may be captured. first and second are what the operation reads, in the order of the
  /// contract (conv.h): forward x, w; input_gradient gy, w; weight_gradient gy, x. Device pointers aligned to 16 bytes.
  void run(cudaStream_t stream, const void* first, const void* second, void* output, void* workspace) const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace apotnet::cuda
