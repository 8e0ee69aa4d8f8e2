#pragma once

#include <array>
#include <cstdint>

namespace apotnet {

/// One block of Philox4x32-10 (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3", SC11).
std::array<uint32_t, 4> philox4x32(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

/// What a random number is for. Part of the counter, so uses never share numbers. Values are stored: never renumber.
enum class RandomStream : uint32_t {
  weights = 1,
  shuffle = 2,
  augment = 3,
  shapes10 = 4,
  split = 5,
  test = 6,
  bench = 7,
  cut = 8
};

/// The random numbers of one (seed, stream, epoch, sample): a pure function of the four and of the draw's number,
/// so there is no generator state to save and no dependence on the order in which samples are visited.
class Philox {
 public:
  Philox(uint64_t seed, RandomStream stream, uint32_t epoch = 0, uint32_t sample = 0);

  uint32_t next_u32();
  /// Uniform in [0, 1) with 24 bits.
  float uniform();
  /// Uniform integer in [0, n), n >= 1, without bias.
  uint32_t below(uint32_t n);
  /// Standard normal (Box-Muller, computed in double).
  double normal();

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_;
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
};

}  // namespace apotnet
