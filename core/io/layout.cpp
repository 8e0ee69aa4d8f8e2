#include "core/io/layout.h"

#include <cstring>

namespace apotnet {
namespace {

// Exchanges the two inner dimensions of [a, b, c] seen as groups of bytes: [a, c, b].
Tensor exchange(const Tensor& x, int64_t b, int64_t c, const Shape& shape) {
  Tensor result(shape, x.dtype(), x.device());
  const size_t item = size_of(x.dtype());
  const int64_t a = x.size(0);
  const std::byte* from = x.raw();
  std::byte* to = result.raw();
  for (int64_t i = 0; i < a; ++i)
    for (int64_t j = 0; j < b; ++j)
      for (int64_t k = 0; k < c; ++k)
        std::memcpy(to + static_cast<size_t>((i * c + k) * b + j) * item,
                    from + static_cast<size_t>((i * b + j) * c + k) * item, item);
  return result;
}

}  // namespace

Tensor activation_from_pytorch(const Tensor& x) {
  if (x.shape().rank() != 4) return x;
  return exchange(x, x.size(1), x.size(2) * x.size(3), {x.size(0), x.size(2), x.size(3), x.size(1)});
}

Tensor activation_to_pytorch(const Tensor& x) {
  if (x.shape().rank() != 4) return x;
  return exchange(x, x.size(1) * x.size(2), x.size(3), {x.size(0), x.size(3), x.size(1), x.size(2)});
}

Tensor weight_from_pytorch(const Tensor& oihw) { return activation_from_pytorch(oihw); }
Tensor weight_to_pytorch(const Tensor& ohwi) { return activation_to_pytorch(ohwi); }

}  // namespace apotnet
