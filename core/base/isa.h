#pragma once

#include <string_view>

namespace apotnet {

/// Instruction sets that the CPU back end has code for, weakest first.
enum class Isa {
  generic,  ///< plain C++
  avx2,     ///< AVX2 and FMA
  vnni      ///< AVX-512 F, BW, VL, DQ and VNNI
};

std::string_view name_of(Isa isa);
/// The best one of this processor.
Isa processor_isa();
/// The one in use: the processor's, or a weaker one named by APOTNET_ISA=generic|avx2|vnni in the environment.
Isa selected_isa();

}  // namespace apotnet
