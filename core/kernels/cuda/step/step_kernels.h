#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "core/kernels/cuda/convolution_sizes.h"
#include "core/kernels/cuda/kernels.h"

// The kernels of a fused training step: each does what several lines of the contract do one after the other, and what
// stands between two convolutions is computed where it is read instead of being stored. A step's trace is turned into
// calls of these by lower.h. Codes and integer sums are exactly those of the contract's lines; gradients are stored as
// bf16 and multiplied on tensor cores, everything that is summed is summed in a fixed order.

namespace apotnet::cuda {

/// Whether both are the same place in memory: while a step is traced no memory is used twice.
inline bool is_same(const Tensor& a, const Tensor& b) { return a.defined() && b.defined() && a.raw() == b.raw(); }

/// Sums of products of codes [N, H, W, C], exact. `narrow` holds a sum that fits 16 bits, else kWideSum, and then
/// `wide` holds it: device memory is read and written for 2 bytes a sum as long as sums are small, whatever they may
/// be. The value of an element is float(sum) * (step_a * step_b) (F9).
struct Sums {
  Tensor narrow;          // s16
  Tensor wide;            // s32, the same shape; only elements marked in `narrow` are written
  Tensor step_a, step_b;  // scalars: of the input, of the weights

  const Shape& shape() const { return narrow.shape(); }
};
inline constexpr int16_t kWideSum = -32768;

/// One number for each element [N, H, W, C]: a stored float or a sum, behind a batch norm where there is one, behind a
/// ReLU where asked.
struct Operand {
  Tensor values;             // f32; or not defined, then
  std::optional<Sums> sums;  // these
  std::optional<BatchNormTerms> norm;
  bool relu = false;

  const Shape& shape() const { return sums ? sums->shape() : values.shape(); }
};

/// a, or a + b, behind a ReLU where asked: what a quantizer reads. Never stored unless asked.
struct Value {
  Operand a;
  std::optional<Operand> b;
  bool relu = false;

  const Shape& shape() const { return a.shape(); }
};

/// Rounds a value to codes (F7): codes, step and the guard of alpha as quantize_activation.
struct QuantizedValue {
  Value value;
  Tensor alpha;     // scalar
  Quantized codes;  // u8 with its step, both written
};

/// Batch statistics that a convolution finds on its way, and the running ones that they update.
struct StatisticsOutput {
  Tensor accumulators;    // i64 [2, C], zero before and after: sums and sums of squares of the codes' sums
  Tensor mean, variance;  // f32 [C] (norm.h)
  Tensor running_mean, running_variance;  // not defined: nothing to update
  double momentum = 0;
};

/// Channels of the matrix products: input and output channels of a convolution are multiples of this.
inline constexpr int64_t kChannelTile = 16;

/// Whether the kernels below have room for a convolution of such shapes: all but very large kernels, large strides, and
/// for the input gradient outputs that see nothing but padding.
bool fits_convolution(const ConvolutionSizes& sizes);
bool fits_input_gradient(const ConvolutionSizes& sizes);
bool fits_weight_gradient(const ConvolutionSizes& sizes);

/// conv2d_codes_statistics: y = sums of x.codes times w.codes, and their statistics, found from the integers.
/// w.codes s8 [O, KH, KW, C], C and O multiples of 16, groups 1.
void launch_convolve_codes(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry, Sums& y,
                           StatisticsOutput& statistics);
/// The same of codes that are rounded on the way and stored.
struct QuantizedConvolution {
  QuantizedValue x;
  Tensor values;  // f32 [N, H, W, C]; where defined, takes the value before rounding
  Quantized w;
  Conv2dGeometry geometry;
  Sums y;
  StatisticsOutput statistics;
};
/// Its `values`, as chains of convolutions and of input gradients see them: where nobody else has to read them, what a
/// gradient needs of them is stored instead (distance.h).
struct StoredValue {
  Tensor values;
  size_t calls = 0;  // of the step that have the value among their arguments, but for those in chains
  struct Rounded {
    Tensor alpha, codes, distances;  // distances s8, as codes
  };
  std::vector<Rounded> rounded;  // by each quantizer

  /// Known when the whole step is.
  bool is_read() const { return calls > 0; }
};
/// The first convolution of a network, of images in floats, and the statistics of its output. Where nobody else reads
/// that, chains compute it where they begin and end: the output itself is never stored.
struct ImageConvolution {
  Tensor x, w;  // f32 [N, H, W, C], [O, KH, KW, C]
  Conv2dGeometry geometry;
  Tensor y, mean, variance;               // f32 [N, H, W, O], [O]
  Tensor running_mean, running_variance;  // not defined: nothing to update
  double momentum = 0;
  Tensor value;               // y behind batch norm and ReLU, as the step knows it
  Tensor gw;                  // f32, of the weights
  bool begins_chain = false;  // one at most: `calls` without it are counted once
  size_t calls = 1;  // of the step that have y or the value among their arguments, and the gradient of the weights,
                     // but for those in chains

  /// Known when the whole step is.
  bool is_read() const { return calls > 0; }
};
/// Whether a chain has room for it: O = 16, stride 1, an output of the images' size.
bool fits_image_chain(const Shape& x, const Shape& w, const Conv2dGeometry& geometry);
/// conv2d of that by itself, with the bits of a chain.
void launch_image_convolution(const Tensor& x, const Tensor& w, const Conv2dGeometry& geometry, Tensor& y);

/// A value and its mean over the pixels of an image (average_pool), where a chain of convolutions ends with them.
struct PooledValue {
  Value value;
  Tensor values, mean;  // f32 [N, H, W, C], [N, 1, 1, C], both written
};

/// For O up to kFusedChannels: each block computes all outputs of a tile.
void launch_quantize_and_convolve(QuantizedConvolution& convolution);
inline constexpr int64_t kFusedChannels = 64;

/// Computes and stores a value: as f32 where `values` is defined, as codes where `codes` is given.
void launch_evaluate(const Value& value, Tensor& values, QuantizedValue* codes);

/// The gradient of x in front of a batch norm (F11), not yet computed: g * factor + (x * slope + constant) with three
/// numbers for each channel.
struct NormInputGradient {
  Tensor g;             // bf16 [N, H, W, C]: of the batch norm's output
  Operand x;            // without norm and ReLU
  Tensor coefficients;  // f32 [C, 3]
};

/// dx as bf16 or f32.
void launch_norm_input_gradient(const NormInputGradient& gradient, Tensor& dx);

/// launch_image_weight_gradient() (kernels.h) of a dx that is computed where it is read; gradient.x is floats.
void launch_image_weight_gradient(const NormInputGradient& gradient, const Tensor& x, const Conv2dGeometry& geometry,
                                  Tensor& gw);

/// What a batch norm learns of the gradient g of its output: the sums over it (F11).
struct NormGradient {
  Operand operand;       // the batch norm with its input
  Tensor ggamma, gbeta;  // f32 [C], written
  Tensor coefficients;   // f32 [C, 3], written: for NormInputGradient
};

/// From the gradient of what a value became to the gradient of the value's own operands:
///
///   1. behind a quantizer: kept where z <= 1, z = value / alpha, and galpha = sum g (1 where z > 1, else q - z) (F8)
///   2. plus `other`, a gradient that comes another way
///   3. where the value ends in a ReLU and `masks`: kept where value > 0
///   4. sums for each batch norm in `norms` (at most two, of a and b), and their gradients
struct ValueGradient {
  Value value;
  bool quantized = false;
  Tensor alpha, galpha;  // scalars, where quantized; galpha is written
  const LevelSet* levels = nullptr;
  Tensor other;  // bf16 or f32, may be not defined
  bool masks = false;
  std::vector<NormGradient> norms;
  Tensor out;  // bf16 or f32, written; may be the memory of `other`
};

/// The steps above of a stored gradient, bf16 or f32: of the value's shape, or of [N, 1, 1, C], that of the mean over
/// an image (average_pool_backward).
void launch_value_gradient(const Tensor& g, ValueGradient& gradient);

/// The gradient of a convolution's output: computed from a NormInputGradient on the way (and stored as `stored`, bf16,
/// where defined), or stored already.
struct ConvolutionOutputGradient {
  std::optional<NormInputGradient> computed;
  Tensor stored;

  const Shape& shape() const { return computed ? computed->g.shape() : stored.shape(); }
};

/// conv2d_codes_backward_input through the values code * step of w, and what follows it up to the operands of the value
/// that was quantized: the steps above with quantized = true. O up to kFusedChannels where gy is computed.
void launch_input_gradient(const ConvolutionOutputGradient& gy, const Quantized& w, const Conv2dGeometry& geometry,
                           ValueGradient& gradient);

/// One weight of a step: normalised (F3) where `normalises`, rounded to codes (F5).
struct WeightToQuantize {
  Tensor w;          // f32 [O, KH, KW, C]
  Tensor mean, std;  // scalars, written where normalises
  Tensor alpha;
  Quantized out;  // s8 codes and step, written
  bool normalises = true;
};
/// All weights of a step, in two launches whatever their number. Guards as weight_norm and quantize_weight.
void launch_quantize_weights(const std::vector<WeightToQuantize>& weights);

/// conv2d_codes_backward_weight of one convolution, as far as it goes without adding up: partial sums over `splits`
/// slices of the batch.
struct WeightGradient {
  Tensor gy;    // bf16 [N, OH, OW, O]
  Quantized x;  // u8 codes [N, H, W, C]
  Conv2dGeometry geometry;
  Shape weight;    // [O, KH, KW, C], O and C multiples of 16
  Tensor partial;  // f32 [splits, O, KH, KW, C], written
};
/// How many slices a convolution's batch is cut into: by its shapes alone.
int64_t splits_of(const Shape& gy, const Shape& weight);
/// All convolutions of a step in one launch (a few where there are very many).
void launch_weight_gradients(const std::vector<WeightGradient>& gradients);

/// From partial sums to the gradients of the weight and its alpha: added up times x_step, then back through the
/// quantizer (F6) and the normalisation (F4).
struct WeightGradientEnd {
  Tensor partial;  // f32 [splits, O, KH, KW, C]
  Tensor x_step;
  WeightToQuantize weight;
  QuantizerVariant variant = QuantizerVariant::cifar;
  bool constant_statistics = true;  // no gradient through mean and std
  Tensor gw, galpha;                // f32, written
};
/// Two launches whatever their number.
void launch_finish_weight_gradients(const std::vector<WeightGradientEnd>& ends);

}  // namespace apotnet::cuda
