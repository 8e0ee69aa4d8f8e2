#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace apotnet {

/// How the magnitudes of a quantizer are spaced (semantics: docs/formulas.md).
enum class LevelMethod { apot, pot, uniform, ternary };

std::string_view name_of(LevelMethod method);
/// Error(configuration) for an unknown name.
LevelMethod parse_level_method(std::string_view name);

/// The magnitudes that a quantizer can take, as integers: level i is codes()[i] / k().
///
/// Every APoT, powers-of-two and uniform level is a small integer over one common K, so a quantized tensor is a tensor
/// of integers times one float (F1). All midpoints between levels are multiples of 1/(2K), hence the nearest level of
/// z in [0, 1] is a table entry at floor(2 K z): no search (F2).
class LevelSet {
 public:
  /// Levels of B magnitude bits. apot: B = 2..8 (paper eq. 5, normalised); pot: 2..5; uniform: 1..8; ternary: B = 1.
  /// Error(configuration) elsewhere. Sets are made once and live for the whole run.
  static const LevelSet& of_magnitude(LevelMethod method, int magnitude_bits);
  /// Weights spend one bit on the sign: B = bits - 1; 2-bit weights are ternary whatever the method.
  static const LevelSet& for_weights(LevelMethod method, int bits);
  static const LevelSet& for_activations(LevelMethod method, int bits);

  LevelMethod method() const { return method_; }
  int magnitude_bits() const { return magnitude_bits_; }
  int64_t k() const { return codes_.back(); }
  /// Ascending, first 0, last K.
  std::span<const int64_t> codes() const { return codes_; }
  /// The sum of powers of two that makes level i before normalisation, as "2^-1 + 2^-4"; "0" for level 0.
  const std::string& sum_of_powers(size_t i) const { return sums_[i]; }
  /// Code of the nearest level where m = floor(2 K z), 0 <= m <= 2K.
  int64_t code_of_half_step(int64_t m) const;
  /// code_of_half_step as a table of 2K + 1 entries; empty where K > 4096.
  std::span<const int16_t> half_step_table() const { return table_; }
  /// A value exactly between two levels takes the upper one, except in the ternary set (torch.round: half to even).
  bool ties_to_lower() const { return method_ == LevelMethod::ternary; }

  bool fits_u8() const { return k() <= 255; }
  bool fits_s8() const { return k() <= 127; }

 private:
  LevelSet(LevelMethod method, int magnitude_bits);

  LevelMethod method_;
  int magnitude_bits_;
  std::vector<int64_t> codes_;
  std::vector<std::string> sums_;
  std::vector<int16_t> table_;
};

}  // namespace apotnet
