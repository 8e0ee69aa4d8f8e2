#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>

namespace apotnet {

/// What one thread of this machine does at most, in 1e9 multiply-accumulates per second: a figure of a kernel is worth
/// little without it, because neighbours and clocks move both by a factor of two. Nothing where the processor lacks the
/// instruction or APOTNET_ISA forbids it.
struct Peaks {
  std::optional<double> fma;      ///< vfmadd in float32, 256 bits
  std::optional<double> maddubs;  ///< vpmaddubsw, u8 x s8, 256 bits
  std::optional<double> vnni;     ///< vpdpbusd, u8 x s8, 512 bits

  /// The peak for u8 x s8: that of the best instruction there is.
  std::optional<double> integers() const { return vnni ? vnni : maddubs; }
};

/// The fastest of short runs, about `seconds` for each instruction.
Peaks measure_peaks(double seconds = 0.05);

/// The mean of a measurement before and one after the timed work.
Peaks mean_of(const Peaks& before, const Peaks& after);

/// Adds fma_gmacs, maddubs_gmacs and vnni_gmacs to a line of JSON; null where there is none.
void add_peaks(nlohmann::ordered_json& line, const Peaks& peaks);

}  // namespace apotnet
