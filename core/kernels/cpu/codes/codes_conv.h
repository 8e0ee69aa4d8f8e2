#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/base/isa.h"
#include "core/kernels/conv.h"

namespace apotnet {

/// A convolution of one image of u8 codes with s8 codes.
struct CodesConvShape {
  int64_t height, width, channels;  // of the input
  int64_t kernel_h, kernel_w, outputs, stride, padding;
  int64_t groups = 1;  // channels and outputs are cut into so many independent convolutions
  int64_t zero = 0;    // the byte that stands for the code 0: signed codes lie in memory with K added

  int64_t output_h() const { return (height + 2 * padding - kernel_h) / stride + 1; }
  int64_t output_w() const { return (width + 2 * padding - kernel_w) / stride + 1; }
  /// Sums are kept in blocks of 16 output channels.
  int64_t padded_outputs() const { return (outputs + 15) / 16 * 16; }
  int64_t products() const { return output_h() * output_w() * outputs * kernel_h * kernel_w * channels / groups; }
};

/// How the input image of a convolution lies in memory: u8 [height + 2 padding + 1][width + 2 padding + 1][channels
/// rounded up to 4], outside the image the byte that stands for zero, so that no kernel asks where the border is. The
/// extra row and column are there for 2x2 tiles of odd-sized images.
struct CodeFrame {
  int64_t height, width, channels, padding, zero;

  explicit CodeFrame(const CodesConvShape& s)
      : height(s.height), width(s.width), channels((s.channels + 3) / 4 * 4), padding(s.padding), zero(s.zero) {}
  int64_t row_bytes() const { return (width + 2 * padding + 1) * channels; }
  /// With 64 bytes that a vector may read past the end.
  int64_t bytes() const { return (height + 2 * padding + 1) * row_bytes() + 64; }
  /// Of pixel (y, x) of the image.
  int64_t offset(int64_t y, int64_t x) const { return (y + padding) * row_bytes() + (x + padding) * channels; }
  bool operator==(const CodeFrame&) const = default;

  /// Fills a frame with the byte that stands for zero.
  void clear(std::byte* frame) const;
  /// Copies a dense image [height][width][image_channels] into a cleared frame.
  void fill(const uint8_t* image, int64_t image_channels, uint8_t* frame) const;
};

/// A convolution made ready for one set of weights: exact integer sums, whatever the kernel.
class CodesConv {
 public:
  CodesConv(const CodesConvShape& shape, Isa isa) : shape_(shape), isa_(isa) {}
  virtual ~CodesConv() = default;
  CodesConv(const CodesConv&) = delete;
  CodesConv& operator=(const CodesConv&) = delete;

  const CodesConvShape& shape() const { return shape_; }
  Isa isa() const { return isa_; }
  virtual std::string_view name() const = 0;
  /// Output rows that a call should have: first_row and rows are multiples of it, but for the last rows of the image.
  virtual int64_t row_step() const { return 1; }
  virtual int64_t scratch_bytes() const { return 0; }
  /// s32 sums [rows][output_w][padded_outputs] of the output rows from `first_row`. `frame` holds the input; `scratch`
  /// (64-byte aligned) is the caller's, so that one object serves all threads.
  virtual void sums(const uint8_t* frame, int64_t first_row, int64_t rows, int32_t* sums, std::byte* scratch) const = 0;

 private:
  CodesConvShape shape_;
  Isa isa_;
};

/// What a kernel may know of the two operands.
struct CodesConvOperands {
  std::span<const int8_t> weights;             ///< [outputs, kernel_h, kernel_w, channels / groups]
  std::span<const int64_t> activation_levels;  ///< ascending bytes that an activation can be, the first 0

  int64_t largest_activation() const { return activation_levels.back(); }
};

/// A way to compute, in the ordered list of select_conv.cpp. The last one is the plain loop, which takes everything.
struct CodesConvKernel {
  std::string name;
  Isa isa;      ///< the weakest that it runs on
  bool groups;  ///< whether it may be asked for a convolution in groups, or only for whole ones
  std::unique_ptr<CodesConv> (*make)(const CodesConvShape& shape,
                                     const CodesConvOperands& operands);  ///< null: not fit
};
const std::vector<CodesConvKernel>& codes_conv_kernels();

/// The first kernel of the list that fits shape, operands and selected_isa(), or the one that was forced.
std::unique_ptr<CodesConv> make_codes_conv(const CodesConvShape& shape, const CodesConvOperands& operands);

/// The same for quantized tensors, x u8 or s8 [N, H, W, C] and w s8 [O, KH, KW, C / groups], both exact().
std::unique_ptr<CodesConv> make_codes_conv(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry);

/// Their shape; zero is K where x has a sign.
CodesConvShape codes_conv_shape(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry);

/// Makes make_codes_conv take this kernel wherever it fits; "" takes the choice back. Error(usage) for an unknown name.
void force_codes_conv(const std::string& name);

}  // namespace apotnet
