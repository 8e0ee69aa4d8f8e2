#include "core/kernels/cpu/codes/code_table.h"

#include "core/base/error.h"
#include "core/quant/level_set.h"

namespace apotnet {

CodeTable make_code_table(const LevelSet& levels) {
  require(levels.fits_u8(), "a table of codes beyond u8");
  CodeTable table;
  table.top = static_cast<int32_t>(2 * levels.k());
  table.ties_to_lower = levels.ties_to_lower();
  table.every_integer = static_cast<int64_t>(levels.codes().size()) == levels.k() + 1;
  for (int32_t m = 0; m <= table.top; ++m) table.code[m] = static_cast<uint8_t>(levels.code_of_half_step(m));
  return table;
}

}  // namespace apotnet
