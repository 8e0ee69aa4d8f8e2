#include "core/kernels/reference/reference.h"

namespace apotnet {

void ReferenceBatch::gather_batch(const ResidentImages& data, const Tensor& placements, Tensor& out,
                                  Tensor& labels) const {
  const int64_t height = out.size(1), width = out.size(2), channels = out.size(3);
  const auto images = data.images.data<uint8_t>();
  const auto places = placements.data<int32_t>(), all_labels = data.labels.data<int32_t>();
  const auto tables = data.tables.data<float>();
  size_t to = 0;
  for (int64_t n = 0; n < out.size(0); ++n) {
    const int32_t* place = &places[static_cast<size_t>(4 * n)];
    labels.data<int32_t>()[static_cast<size_t>(n)] = all_labels[static_cast<size_t>(place[0])];
    for (int64_t y = 0; y < height; ++y)
      for (int64_t x = 0; x < width; ++x) {
        const int64_t row = y + place[1] - data.pad, column = (place[3] ? width - 1 - x : x) + place[2] - data.pad;
        const bool inside = row >= 0 && row < height && column >= 0 && column < width;
        for (int64_t c = 0; c < channels; ++c) {
          const int64_t from = ((place[0] * height + row) * width + column) * channels + c;
          const uint8_t byte = inside ? images[static_cast<size_t>(from)] : uint8_t{0};
          out.data<float>()[to++] = tables[static_cast<size_t>(c * 256 + byte)];
        }
      }
  }
}

}  // namespace apotnet
