#include "core/kernels/cpu/codes/lookup.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "core/kernels/cpu/codes/kernels.h"
#include "core/tensor/buffer.h"

namespace apotnet {
namespace {

constexpr int64_t kRows = 16;  // of a strip: the rows that two strips share are transposed twice

// The 16 sums of two products, and what makes them positive.
struct Table {
  std::array<int64_t, 16> sums{};
  int64_t least = 0, range = 0;

  Table(int64_t w0, int64_t w1, std::span<const int64_t> levels) {
    for (size_t i = 0; i < 16; ++i) {
      const auto level = [&](size_t index) { return index < levels.size() ? levels[index] : 0; };
      sums[i] = w0 * level(i % 4) + w1 * level(i / 4);
    }
    const auto [low, high] = std::ranges::minmax(sums);
    least = low;
    range = high - low;
  }
};

class LookupConv : public CodesConv {
 public:
  LookupConv(const CodesConvShape& shape, const CodesConvOperands& operands)
      : CodesConv(shape, Isa::avx2), offsets_(static_cast<size_t>(shape.padded_outputs())) {
    for (size_t i = 0; i < operands.activation_levels.size(); ++i)
      index_of_code_[static_cast<size_t>(operands.activation_levels[i])] = static_cast<uint8_t>(i);
    const int64_t window = shape.kernel_h * shape.kernel_w * shape.channels;
    tables_ = Buffer::allocate(static_cast<size_t>(shape.padded_outputs() * window / 2 * 16), {});
    std::memset(tables_->data(), 0, tables_->bytes());
    std::vector<int64_t> totals(offsets_.size());
    int64_t widest = 1;
    for (int64_t o = 0; o < shape.outputs; ++o)
      for (int64_t i = 0; i < window; i += 2) {
        const int8_t* w = operands.weights.data() + o * window + i;
        const Table table(w[0], w[1], operands.activation_levels);
        widest = std::max(widest, table.range);
        totals[static_cast<size_t>(o)] += table.range;
        offsets_[static_cast<size_t>(o)] -= static_cast<int32_t>(table.least);
        auto* to = reinterpret_cast<uint8_t*>(tables_->data()) + ((o / 4 * (window / 2) + i / 2) * 4 + o % 4) * 16;
        for (size_t entry = 0; entry < 16; ++entry) to[entry] = static_cast<uint8_t>(table.sums[entry] - table.least);
      }
    for (int64_t i = 0; i < shape.kernel_h; ++i)
      for (int64_t j = 0; j < shape.kernel_w; ++j)
        for (int64_t pair = 0; pair < shape.channels / 2; ++pair)
          distances_.push_back(pair * plane() + i * pitch() + j);
    steps_ = 255 / widest;
    fits_ = widest <= 255 && std::ranges::max(totals) <= 32767;
  }

  bool fits() const { return fits_; }
  std::string_view name() const override { return "lookup"; }
  int64_t row_step() const override { return kRows; }
  int64_t scratch_bytes() const override { return shape().channels / 2 * plane() + 16 * 64 * 2; }

  void sums(const uint8_t* frame, int64_t first_row, int64_t rows, int32_t* sums, std::byte* scratch) const override {
    const CodeFrame layout(shape());
    for (int64_t row = 0; row < rows; row += kRows)
      avx2_lookup({.input = frame + layout.offset(first_row + row - shape().padding, -shape().padding),
                   .channels = shape().channels,
                   .pitch = pitch(),
                   .rows = std::min(kRows, rows - row),
                   .width = shape().output_w(),
                   .kernel_h = shape().kernel_h,
                   .index_of_code = index_of_code_.data(),
                   .tables = reinterpret_cast<const uint8_t*>(tables_->data()),
                   .distances = distances_.data(),
                   .all_steps = static_cast<int64_t>(distances_.size()),
                   .steps = steps_,
                   .offsets = offsets_.data(),
                   .padded_outputs = shape().padded_outputs(),
                   .sums = sums + row * shape().output_w() * shape().padded_outputs(),
                   .scratch = reinterpret_cast<uint8_t*>(scratch),
                   .plane = plane()});
  }

 private:
  int64_t pitch() const { return CodeFrame(shape()).row_bytes() / shape().channels; }
  // All rows of a strip and its windows, and what the last block of positions reads behind them; whole cache lines.
  int64_t plane() const {
    const int64_t bytes = (kRows + shape().kernel_h - 1) * pitch() + 64 + shape().kernel_w;
    return (bytes + 63) / 64 * 64;
  }

  std::array<uint8_t, 16> index_of_code_{};
  std::shared_ptr<Buffer> tables_;
  std::vector<int32_t> offsets_;
  std::vector<int64_t> distances_;
  int64_t steps_ = 0;
  bool fits_ = false;
};

}  // namespace

#if defined(__x86_64__)
std::unique_ptr<CodesConv> make_lookup(const CodesConvShape& shape, const CodesConvOperands& operands) {
  const CodeFrame layout(shape);
  const bool geometry = shape.stride == 1 && shape.channels % 16 == 0;
  const bool eight_positions =
      shape.kernel_h * layout.row_bytes() >= 8 * shape.channels;  // the least that are transposed
  if (!geometry || !eight_positions || operands.activation_levels.size() > 4 || operands.largest_activation() > 15)
    return nullptr;
  auto conv = std::make_unique<LookupConv>(shape, operands);
  return conv->fits() ? std::move(conv) : nullptr;
}
#endif

}  // namespace apotnet
