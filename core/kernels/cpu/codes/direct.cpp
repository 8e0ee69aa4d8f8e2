#include "core/kernels/cpu/codes/direct.h"

#include <cstring>

#include "core/kernels/cpu/codes/kernels.h"
#include "core/kernels/cpu/codes/packed_weights.h"

namespace apotnet {
namespace {

/// The definition of every kernel of this folder.
class PlainConv : public CodesConv {
 public:
  PlainConv(const CodesConvShape& shape, std::span<const int8_t> ohwi)
      : CodesConv(shape, Isa::generic), weights_(ohwi.begin(), ohwi.end()) {}
  std::string_view name() const override { return "plain"; }

  void sums(const uint8_t* frame, int64_t first_row, int64_t rows, int32_t* sums, std::byte*) const override {
    const CodesConvShape& s = shape();
    const CodeFrame layout(s);
    const int64_t inputs = s.channels / s.groups;  // of an output
    std::memset(sums, 0, static_cast<size_t>(rows * s.output_w() * s.padded_outputs()) * sizeof(int32_t));
    for (int64_t y = first_row; y < first_row + rows; ++y)
      for (int64_t x = 0; x < s.output_w(); ++x, sums += s.padded_outputs())
        for (int64_t i = 0; i < s.kernel_h; ++i)
          for (int64_t j = 0; j < s.kernel_w; ++j) {
            const uint8_t* pixel = frame + layout.offset(y * s.stride + i - s.padding, x * s.stride + j - s.padding);
            for (int64_t o = 0; o < s.outputs; ++o) {
              const int8_t* w = weights_.data() + ((o * s.kernel_h + i) * s.kernel_w + j) * inputs;
              const uint8_t* in = pixel + o / (s.outputs / s.groups) * inputs;
              for (int64_t c = 0; c < inputs; ++c) sums[o] += int32_t{in[c]} * w[c];
            }
          }
  }

 private:
  std::vector<int8_t> weights_;
};

// For processors without a kernel of their own: 16 outputs at a time, in loops that a compiler turns into vector code.
class PortableConv : public CodesConv {
 public:
  PortableConv(const CodesConvShape& s, std::span<const int8_t> ohwi)
      : CodesConv(s, Isa::generic), row_(s.kernel_w * CodeFrame(s).channels), window_(s.kernel_h * row_) {
    const PackedWeights packed(s, ohwi);
    weights_.resize(static_cast<size_t>(s.padded_outputs() * window_));  // [outputs / 16][kernel_h][byte of a row][16]
    for (int64_t o = 0; o < s.padded_outputs(); ++o)
      for (int64_t i = 0; i < window_; ++i)
        weights_[static_cast<size_t>((o / 16 * window_ + i) * 16 + o % 16)] =
            packed.at(o, i / row_, i % row_ / 4, i % 4);
  }
  std::string_view name() const override { return "portable"; }

  void sums(const uint8_t* frame, int64_t first_row, int64_t rows, int32_t* sums, std::byte*) const override {
    const CodesConvShape& s = shape();
    const CodeFrame layout(s);
    for (int64_t y = first_row; y < first_row + rows; ++y)
      for (int64_t x = 0; x < s.output_w(); ++x) {
        const uint8_t* pixel = frame + layout.offset(y * s.stride - s.padding, x * s.stride - s.padding);
        for (int64_t block = 0; block < s.padded_outputs() / 16; ++block, sums += 16)
          sum_window(pixel, layout.row_bytes(), weights_.data() + block * window_ * 16, sums);
      }
  }

 private:
  void sum_window(const uint8_t* pixel, int64_t row_stride, const int16_t* w, int32_t* to) const {
    int32_t sums[16] = {};
    for (int64_t i = 0; i < shape().kernel_h; ++i)
      for (int64_t byte = 0; byte < row_; ++byte, w += 16) {
        const int16_t x = pixel[i * row_stride + byte];
        for (int o = 0; o < 16; ++o) sums[o] += int32_t{x} * w[o];
      }
    std::memcpy(to, sums, sizeof(sums));
  }

  int64_t row_, window_;
  std::vector<int16_t> weights_;
};

class DirectConv : public CodesConv {
 public:
  DirectConv(std::string_view name, Isa isa, const CodesConvShape& shape, PackedWeights weights,
             const WideningPlan& plan, void (*kernel)(const DirectStrip&))
      : CodesConv(shape, isa), name_(name), weights_(std::move(weights)), plan_(plan), kernel_(kernel) {}
  std::string_view name() const override { return name_; }

  void sums(const uint8_t* frame, int64_t first_row, int64_t rows, int32_t* sums, std::byte*) const override {
    const CodesConvShape& s = shape();
    const CodeFrame layout(s);
    for (int64_t y = first_row; y < first_row + rows; ++y, sums += s.output_w() * s.padded_outputs())
      kernel_({.input = frame + layout.offset(y * s.stride - s.padding, -s.padding),
               .pixel_stride = s.stride * layout.channels,
               .row_stride = layout.row_bytes(),
               .pixels = s.output_w(),
               .weights = weights_.data(),
               .output_blocks = weights_.output_blocks,
               .kernel_h = weights_.kernel_h,
               .groups = weights_.groups,
               .whole_window = plan_.whole_window,
               .widening_groups = plan_.groups,
               .sums = sums});
  }

 private:
  std::string_view name_;
  PackedWeights weights_;
  WideningPlan plan_;
  void (*kernel_)(const DirectStrip&);
};

}  // namespace

std::unique_ptr<CodesConv> make_plain(const CodesConvShape& shape, const CodesConvOperands& operands) {
  return std::make_unique<PlainConv>(shape, operands.weights);
}

std::unique_ptr<CodesConv> make_portable(const CodesConvShape& shape, const CodesConvOperands& operands) {
  return std::make_unique<PortableConv>(shape, operands.weights);
}

#if defined(__x86_64__)
std::unique_ptr<CodesConv> make_direct_avx2(const CodesConvShape& shape, const CodesConvOperands& operands) {
  PackedWeights weights(shape, operands.weights);
  const WideningPlan plan = plan_widening(weights, operands.largest_activation());
  if (!plan.exact) return nullptr;
  const std::string_view name = plan.whole_window ? "direct16" : "direct16-widened";
  return std::make_unique<DirectConv>(name, Isa::avx2, shape, std::move(weights), plan, avx2_direct);
}

std::unique_ptr<CodesConv> make_direct_vnni(const CodesConvShape& shape, const CodesConvOperands& operands) {
  return std::make_unique<DirectConv>("direct-vnni", Isa::vnni, shape, PackedWeights(shape, operands.weights),
                                      WideningPlan{}, vnni_direct);
}
#endif

}  // namespace apotnet
