#pragma once

#include <cstdint>

namespace apotnet {

/// floor(2 K z) for z in [0, 1]: the half step that z lies in (F2). This is the one place of the tie rule: a value
/// exactly on a midpoint belongs to the upper level, or to the lower one where `ties_to_lower`. A NaN takes level 0.
/// constexpr, so that device code calls it as it stands; the result is of the type of `k`.
template <typename Float, typename Integer>
constexpr Integer half_steps(Float z, Integer k, bool ties_to_lower) {
  const Float scaled = z * static_cast<Float>(2 * k);
  const Integer m = scaled > 0 ? static_cast<Integer>(scaled) : 0;
  return ties_to_lower && m > 0 && static_cast<Float>(m) == scaled ? m - 1 : m;
}

}  // namespace apotnet
