#pragma once

#include <string_view>

namespace apotnet {

/// Instruction sets that the CPU back end has code for, weakest first.
enum class Isa {
  generic,  ///< plain C++
  avx2,     ///< AVX2 and FMA
  avx512,   ///< AVX-512 F, BW, VL and DQ
  vnni      ///< AVX-512 with VNNI
};

std::string_view name_of(Isa isa);
/// The best one of this processor.
Isa processor_isa();
/// The one in use: the processor's, or a weaker one that APOTNET_ISA in the environment names. Error(usage) for any
/// other name.
Isa selected_isa();

}  // namespace apotnet
