#include "core/tensor/shape.h"

#include "core/base/error.h"

namespace apotnet {

Shape::Shape(std::span<const int64_t> sizes) {
  require(sizes.size() <= kMaxRank, "a tensor of ", sizes.size(), " dimensions; at most ", kMaxRank, " are supported");
  int64_t elements = 1;
  for (const int64_t size : sizes) {
    require(size >= 0, "a tensor with a negative size ", size);
    require(size == 0 || elements <= (int64_t{1} << 62) / size, "a tensor with more than 2^62 elements");
    elements *= size;
    sizes_[static_cast<size_t>(rank_++)] = size;
  }
}

int64_t Shape::elements() const {
  int64_t product = 1;
  for (const int64_t size : sizes()) product *= size;
  return product;
}

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '[';
  for (int i = 0; i < shape.rank(); ++i) out << (i ? ", " : "") << shape[i];
  return out << ']';
}

}  // namespace apotnet
