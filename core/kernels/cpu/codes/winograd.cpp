#include "core/kernels/cpu/codes/winograd.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/kernels/cpu/codes/kernels.h"
#include "core/tensor/buffer.h"

namespace apotnet {
namespace {

using Window = std::array<std::array<int64_t, 4>, 4>;

// 2G w of a column of three, G = [1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1].
std::array<int64_t, 4> transform_column(int64_t w0, int64_t w1, int64_t w2) {
  return {2 * w0, w0 + w1 + w2, w0 - w1 + w2, 2 * w2};
}

// 2G w (2G)^T of one 3x3 kernel.
Window transform_weights(const int8_t* w, int64_t row_stride, int64_t column_stride) {
  std::array<std::array<int64_t, 4>, 3> columns;
  for (size_t j = 0; j < 3; ++j) {
    const int8_t* column = w + static_cast<int64_t>(j) * column_stride;
    columns[j] = transform_column(column[0], column[row_stride], column[2 * row_stride]);
  }
  Window u;
  for (size_t i = 0; i < 4; ++i) u[i] = transform_column(columns[0][i], columns[1][i], columns[2][i]);
  return u;
}

// What differs between the two kernels.
struct WinogradKind {
  std::string_view name;
  Isa isa;
  void (*kernel)(const WinogradStrip&);
  int64_t tiles;  // of a strip at least, where the image has as many rows
  int64_t group;  // channels packed side by side
  bool sums_of_16_bits;
};

class WinogradConv : public CodesConv {
 public:
  WinogradConv(const CodesConvShape& shape, const CodesConvOperands& operands, const WinogradKind& kind)
      : CodesConv(shape, kind.isa), kind_(kind), offset_(2 * operands.largest_activation()) {
    const int64_t outputs = shape.padded_outputs(), c = shape.channels;
    weights_ = Buffer::allocate(static_cast<size_t>(16 * outputs * c), {});
    start_ = Buffer::allocate(static_cast<size_t>(16 * outputs) * (kind.sums_of_16_bits ? 2 : 4), {});
    std::memset(weights_->data(), 0, weights_->bytes());
    std::vector<int64_t> totals(static_cast<size_t>(16 * outputs));
    auto* packed = reinterpret_cast<int8_t*>(weights_->data());
    for (int64_t o = 0; o < shape.outputs; ++o)
      for (int64_t i = 0; i < c; ++i) {
        const Window u = transform_weights(operands.weights.data() + o * 9 * c + i, 3 * c, c);
        for (int64_t p = 0; p < 16; ++p) {
          const int64_t value = u[static_cast<size_t>(p / 4)][static_cast<size_t>(p % 4)];
          const int64_t block = (p * outputs / 16 + o / 16) * (c / kind.group) + i / kind.group;
          packed[(block * 16 + o % 16) * kind.group + i % kind.group] = static_cast<int8_t>(value);
          totals[static_cast<size_t>(p * outputs + o)] += value;
        }
      }
    for (size_t i = 0; i < totals.size(); ++i) {
      const bool has_offset = i / static_cast<size_t>(outputs) != 5;  // position (1, 1) is never negative
      const int64_t value = has_offset ? -offset_ * totals[i] : 0;
      if (kind.sums_of_16_bits)
        reinterpret_cast<int16_t*>(start_->data())[i] = static_cast<int16_t>(value);  // modulo 2^16
      else
        reinterpret_cast<int32_t*>(start_->data())[i] = static_cast<int32_t>(value);
    }
  }

  std::string_view name() const override { return kind_.name; }
  int64_t row_step() const override { return 2 * std::max<int64_t>(1, kind_.tiles / tiles_per_row()); }
  int64_t scratch_bytes() const override {
    const int64_t tiles = (row_step() / 2 * tiles_per_row() + kind_.tiles - 1) / kind_.tiles * kind_.tiles;
    const int64_t combined = 4 * ((2 * tiles_per_row() + 2) * shape().channels + 32) + 64;
    return combined + 16 * tiles * shape().channels + 16 * kind_.tiles * 32 * 4;
  }

  void sums(const uint8_t* frame, int64_t first_row, int64_t rows, int32_t* sums, std::byte* scratch) const override {
    const CodeFrame layout(shape());
    for (int64_t row = 0; row < rows; row += row_step()) {
      const int64_t part = std::min(row_step(), rows - row);
      kind_.kernel({.input = frame + layout.offset(first_row + row - shape().padding, -shape().padding),
                    .row_stride = layout.row_bytes(),
                    .channels = shape().channels,
                    .tile_rows = (part + 1) / 2,
                    .tiles_per_row = tiles_per_row(),
                    .rows = part,
                    .width = shape().output_w(),
                    .weights = reinterpret_cast<const int8_t*>(weights_->data()),
                    .start = start_->data(),
                    .output_blocks = shape().padded_outputs() / 16,
                    .offset = static_cast<uint8_t>(offset_),
                    .sums = sums + row * shape().output_w() * shape().padded_outputs(),
                    .scratch = reinterpret_cast<uint8_t*>(scratch)});
    }
  }

 private:
  int64_t tiles_per_row() const { return (shape().output_w() + 1) / 2; }

  WinogradKind kind_;
  int64_t offset_;
  std::shared_ptr<Buffer> weights_, start_;
};

// Whether the geometry is Winograd's and both transformed operands fit 8 bits.
bool fits(const CodesConvShape& s, const CodesConvOperands& operands) {
  if (s.kernel_h != 3 || s.kernel_w != 3 || s.stride != 1 || s.padding > 1 || s.channels % 16 != 0) return false;
  if (4 * operands.largest_activation() > 255) return false;
  const auto [least, most] = std::ranges::minmax(operands.weights);
  if (9 * std::max(-int64_t{least}, int64_t{most}) <= 127) return true;  // nine weights of one sign at the most
  for (int64_t o = 0; o < s.outputs; ++o)
    for (int64_t i = 0; i < s.channels; ++i)
      for (const auto& row :
           transform_weights(operands.weights.data() + o * 9 * s.channels + i, 3 * s.channels, s.channels))
        for (const int64_t value : row)
          if (value < -128 || value > 127) return false;
  return true;
}

// Whether four times every sum fits 16 bits, and no pair of products saturates.
bool fits_16_bits(const CodesConvShape& s, const CodesConvOperands& operands) {
  if (4 * operands.largest_activation() * 2 * 128 > 32767) return false;
  const int64_t window = 9 * s.channels;
  for (int64_t o = 0; o < s.outputs; ++o) {
    int64_t positive = 0, negative = 0;
    for (const int8_t w : operands.weights.subspan(static_cast<size_t>(o * window), static_cast<size_t>(window)))
      (w > 0 ? positive : negative) += std::abs(int64_t{w});
    if (4 * operands.largest_activation() * std::max(positive, negative) > 32767) return false;
  }
  return true;
}

}  // namespace

#if defined(__x86_64__)
// With fewer channels the transforms cost more than the products that they save.
std::unique_ptr<CodesConv> make_winograd_avx2(const CodesConvShape& shape, const CodesConvOperands& operands) {
  if (shape.channels < 32 || !fits(shape, operands) || !fits_16_bits(shape, operands)) return nullptr;
  return std::make_unique<WinogradConv>(shape, operands,
                                        WinogradKind{"winograd16", Isa::avx2, avx2_winograd_codes, 4, 2, true});
}

std::unique_ptr<CodesConv> make_winograd_vnni(const CodesConvShape& shape, const CodesConvOperands& operands) {
  if (!fits(shape, operands)) return nullptr;
  return std::make_unique<WinogradConv>(shape, operands,
                                        WinogradKind{"winograd-vnni", Isa::vnni, vnni_winograd_codes, 8, 4, false});
}
#endif

}  // namespace apotnet
