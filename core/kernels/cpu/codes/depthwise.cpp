#include "core/kernels/cpu/codes/depthwise.h"

#include <cstring>

#include "core/kernels/cpu/codes/kernels.h"

namespace apotnet {
namespace {

#include "core/kernels/cpu/codes/depthwise_body.h"

class DepthwiseConv : public CodesConv {
 public:
  DepthwiseConv(std::string_view name, Isa isa, DepthwiseRow row, const CodesConvShape& s, std::span<const int8_t> ohwi)
      : CodesConv(s, isa),
        name_(name),
        row_(row),
        weights_(static_cast<size_t>(s.kernel_h * s.kernel_w * s.padded_outputs())) {
    const CodeFrame layout(s);
    const int64_t window = s.kernel_h * s.kernel_w;
    for (int64_t i = 0; i < window; ++i) {
      window_.push_back(i / s.kernel_w * layout.row_bytes() + i % s.kernel_w * layout.channels);
      for (int64_t o = 0; o < s.outputs; ++o)
        weights_[static_cast<size_t>(i * s.padded_outputs() + o)] = ohwi[static_cast<size_t>(o * window + i)];
    }
  }
  std::string_view name() const override { return name_; }

  void sums(const uint8_t* frame, int64_t first_row, int64_t rows, int32_t* sums, std::byte*) const override {
    const CodesConvShape& s = shape();
    const CodeFrame layout(s);
    for (int64_t y = first_row; y < first_row + rows; ++y, sums += s.output_w() * s.padded_outputs())
      row_(frame + layout.offset(y * s.stride - s.padding, -s.padding), s.output_w(), s.stride * layout.channels,
           window_.data(), static_cast<int64_t>(window_.size()), weights_.data(), s.padded_outputs(), sums);
  }

 private:
  std::string_view name_;
  DepthwiseRow row_;
  std::vector<int64_t> window_;   // where its bytes are, from the first on
  std::vector<int16_t> weights_;  // [window][padded outputs]; of the padding 0
};

}  // namespace

std::unique_ptr<CodesConv> make_depthwise_with(std::string_view name, Isa isa, DepthwiseRow row,
                                               const CodesConvShape& shape, const CodesConvOperands& operands) {
  if (shape.groups != shape.channels || shape.outputs != shape.channels) return nullptr;
  return std::make_unique<DepthwiseConv>(name, isa, row, shape, operands.weights);
}

std::unique_ptr<CodesConv> make_depthwise(const CodesConvShape& shape, const CodesConvOperands& operands) {
  return make_depthwise_with("depthwise", Isa::generic, depthwise_row, shape, operands);
}

}  // namespace apotnet
