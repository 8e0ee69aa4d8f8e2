#pragma once

#include <cmath>
#include <cstdint>

namespace apotnet {

/// floor(2 K z) for z in [0, 1], exactly: the half step that z lies in (F2). This defines the tie rule: a value exactly
/// on a midpoint belongs to the upper level, or to the lower one where `ties_to_lower`. A NaN takes level 0. constexpr,
/// so that device code calls it as it stands; the result is of the type of `k`.
template <typename Float, typename Integer>
constexpr Integer half_steps(Float z, Integer k, bool ties_to_lower) {
  const Float two_k = static_cast<Float>(2 * k), scaled = z * two_k;
  const Integer m = scaled > 0 ? static_cast<Integer>(scaled) : 0;
  // The product may have been rounded up to m: a fused multiply-add has the sign of the exact 2 K z - m.
  const Float past = std::fma(z, two_k, static_cast<Float>(-m));
  return m > 0 && (past < 0 || (ties_to_lower && past == 0)) ? m - 1 : m;
}

}  // namespace apotnet
