#include "core/base/philox.h"

#include <cmath>
#include <numbers>

namespace apotnet {

std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> c, std::array<uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<uint32_t>(p0)};
    k = {k[0] + 0x9E3779B9u, k[1] + 0xBB67AE85u};
  }
  return c;
}

Philox::Philox(uint64_t seed, RandomStream stream, uint32_t epoch, uint32_t sample)
    : key_{static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)},
      counter_{0, sample, epoch, static_cast<uint32_t>(stream)} {}

uint32_t Philox::next_u32() {
  if (used_ == 4) {
    block_ = philox4x32(counter_, key_);
    ++counter_[0];
    used_ = 0;
  }
  return block_[static_cast<size_t>(used_++)];
}

float Philox::uniform() { return static_cast<float>(next_u32() >> 8) * 0x1p-24f; }

uint32_t Philox::below(uint32_t n) {
  // Lemire's multiply-shift; the rejected low part is what would make some results likelier.
  const uint32_t threshold = (0u - n) % n;
  for (;;) {
    const uint64_t product = uint64_t{next_u32()} * n;
    if (static_cast<uint32_t>(product) >= threshold) return static_cast<uint32_t>(product >> 32);
  }
}

double Philox::normal() {
  const double u = (next_u32() + 0.5) * 0x1p-32;  // in (0, 1): the logarithm is finite
  const double v = (next_u32() + 0.5) * 0x1p-32;
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * v);
}

}  // namespace apotnet
