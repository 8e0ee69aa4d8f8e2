#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/kernels/cpu/codes/kernels.h"

namespace apotnet {
namespace {

std::string forced;

/// F20: sums of codes from sums of bytes that hold code + zero: zero times the sum of the weights is taken off.
class SignedInput : public CodesConv {
 public:
  SignedInput(std::unique_ptr<CodesConv> bytes, std::span<const int8_t> ohwi)
      : CodesConv(bytes->shape(), bytes->isa()), bytes_(std::move(bytes)) {
    const int64_t window = static_cast<int64_t>(ohwi.size()) / shape().outputs;
    excess_.resize(static_cast<size_t>(shape().padded_outputs()));
    for (size_t i = 0; i < ohwi.size(); ++i)
      excess_[i / static_cast<size_t>(window)] += static_cast<int32_t>(shape().zero) * ohwi[i];
  }
  std::string_view name() const override { return bytes_->name(); }
  int64_t row_step() const override { return bytes_->row_step(); }
  int64_t scratch_bytes() const override { return bytes_->scratch_bytes(); }
  void sums(const uint8_t* frame, int64_t first_row, int64_t rows, int32_t* sums, std::byte* scratch) const override {
    bytes_->sums(frame, first_row, rows, sums, scratch);
    for (int64_t pixel = 0; pixel < rows * shape().output_w(); ++pixel)
      for (const int32_t excess : excess_) *sums++ -= excess;
  }

 private:
  std::unique_ptr<CodesConv> bytes_;
  std::vector<int32_t> excess_;
};

}  // namespace

const std::vector<CodesConvKernel>& codes_conv_kernels() {
  static const std::vector<CodesConvKernel> kernels {
#if defined(__x86_64__)
    {"winograd-vnni", Isa::vnni, false, make_winograd_vnni},   // 3x3 up to 4 bits
        {"direct-vnni", Isa::vnni, false, make_direct_vnni},   // everything in one group
        {"winograd16", Isa::avx2, false, make_winograd_avx2},  // 3x3, 2 and 3 bits, from 32 channels on
        {"lookup", Isa::avx2, false, make_lookup},             // stride 1, 2 bits
        {"direct16", Isa::avx2, false, make_direct_avx2},      // where no pair of products saturates
        {"depthwise-avx2", Isa::avx2, true, make_depthwise_avx2},
#endif
        {"depthwise", Isa::generic, true, make_depthwise},  // a group for each channel
        {"portable", Isa::generic, false, make_portable},   // everything in one group
        {"plain", Isa::generic, true, make_plain},          // the definition
  };
  return kernels;
}

std::unique_ptr<CodesConv> make_codes_conv(const CodesConvShape& shape, const CodesConvOperands& operands) {
  for (const bool only_forced : {true, false})
    for (const CodesConvKernel& kernel : codes_conv_kernels())
      if (kernel.isa <= selected_isa() && (!only_forced || kernel.name == forced) &&
          (shape.groups == 1 || kernel.groups))
        if (auto made = kernel.make(shape, operands))
          return shape.zero == 0 ? std::move(made) : std::make_unique<SignedInput>(std::move(made), operands.weights);
  fail(ErrorCategory::internal, "no convolution of codes fits; the plain loop should");
}

CodesConvShape codes_conv_shape(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry) {
  const Shape &xs = x.shape(), &ws = w.shape();
  return {xs[1],           xs[2],
          xs[3],           ws[1],
          ws[2],           ws[0],
          geometry.stride, geometry.padding,
          geometry.groups, x.codes.dtype() == DType::s8 ? x.levels->k() : 0};
}

std::unique_ptr<CodesConv> make_codes_conv(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry) {
  const CodesConvShape shape = codes_conv_shape(x, w, geometry);
  std::vector<int64_t> bytes(x.levels->codes().begin(), x.levels->codes().end());
  if (shape.zero > 0)
    for (const int64_t code : x.levels->codes())
      for (const int64_t byte : {shape.zero - code, shape.zero + code}) bytes.push_back(byte);
  std::ranges::sort(bytes);
  bytes.erase(std::unique(bytes.begin(), bytes.end()), bytes.end());
  return make_codes_conv(shape, {w.codes.data<int8_t>(), bytes});
}

void force_codes_conv(const std::string& name) {
  std::string known;
  for (const CodesConvKernel& kernel : codes_conv_kernels()) known += (known.empty() ? "" : ", ") + kernel.name;
  if (!name.empty() &&
      std::ranges::find(codes_conv_kernels(), name, &CodesConvKernel::name) == codes_conv_kernels().end())
    fail(ErrorCategory::usage, "no convolution kernel is called ", name, "; known are ", known);
  forced = name;
}

void CodeFrame::clear(std::byte* frame) const {
  std::memset(frame, static_cast<int>(zero), static_cast<size_t>(bytes()));
}

void CodeFrame::fill(const uint8_t* image, int64_t image_channels, uint8_t* frame) const {
  if (image_channels == channels) {
    for (int64_t y = 0; y < height; ++y)
      std::memcpy(frame + offset(y, 0), image + y * width * channels, static_cast<size_t>(width * channels));
    return;
  }
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      std::memcpy(frame + offset(y, x), image + (y * width + x) * image_channels, static_cast<size_t>(image_channels));
}

}  // namespace apotnet
