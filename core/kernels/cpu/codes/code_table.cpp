#include "core/kernels/cpu/codes/code_table.h"

#include "core/base/error.h"
#include "core/quant/level_set.h"

namespace apotnet {

CodeTable make_code_table(const LevelSet& levels) {
  require(levels.fits_u8() && !levels.ties_to_lower(), "a table of codes for activations beyond u8");
  CodeTable table;
  table.top = static_cast<int32_t>(2 * levels.k());
  for (int32_t m = 0; m <= table.top; ++m) table.code[m] = static_cast<uint8_t>(levels.code_of_half_step(m));
  table.every_integer = static_cast<int64_t>(levels.codes().size()) == levels.k() + 1;
  if (table.every_integer || table.top > 255) return table;
  for (int32_t half = 0; half < 2 && 128 * half <= table.top; ++half) {
    table.tables[half] = (table.top - 128 * half) / 16 + 1 < 8 ? (table.top - 128 * half) / 16 + 1 : 8;
    for (int32_t h = 0; h < table.tables[half]; ++h)
      for (int32_t i = 0; i < 16; ++i) {
        const int32_t m = 128 * half + 16 * h + i;
        const uint8_t next = h + 1 < table.tables[half] ? table.code[m + 16] : uint8_t{0};
        table.chain[half][h][i] = table.code[m] ^ next;
      }
  }
  return table;
}

}  // namespace apotnet
