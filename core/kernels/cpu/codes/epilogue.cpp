#include "core/kernels/cpu/codes/epilogue.h"

#include <algorithm>

#include "core/base/isa.h"

namespace apotnet {
namespace {

void codes_epilogue(const CodesEpilogue& e) {
  const int64_t count = e.level_count - 1;
  for (int64_t p = 0; p < e.pixels; ++p)
    for (int64_t c = 0; c < e.channels; ++c) {
      const int32_t sum = e.sums[p * e.padded_channels + c];
      const int32_t* thresholds = e.thresholds + c * count;
      const int64_t reached = std::upper_bound(thresholds, thresholds + count, sum) - thresholds;
      e.codes[p * e.pixel_stride + c] = e.levels[e.rising[c] ? reached : count - reached];
    }
}

uint8_t signed_code(const QuantizeTarget& target, float value) {
  const float z = value / target.alpha;
  const int magnitude = target.table->at(z < 0 ? -z : z);
  return static_cast<uint8_t>(target.table->top / 2 + (z < 0 ? -magnitude : magnitude));
}

void values_epilogue(const ValuesEpilogue& e) {
  for (int64_t p = 0; p < e.pixels; ++p)
    for (int64_t c = 0; c < e.channels; ++c) {
      const int64_t i = p * e.padded_channels + c;
      float value = e.sums ? static_cast<float>(e.sums[i]) * e.step : e.y[i];
      if (e.scale) value = value * e.scale[c] + e.shift[c];
      if (e.shortcut) value = value + e.shortcut[p * e.channels + c];
      if (e.relu) value = value < 0 ? 0 : value;
      if (e.values) e.values[p * e.channels + c] = value;
      for (int t = 0; t < e.target_count; ++t) {
        const QuantizeTarget& target = e.targets[t];
        uint8_t* code = target.codes + p * target.pixel_stride + c;
        *code = target.has_sign ? signed_code(target, value) : target.table->at(value / target.alpha);
      }
    }
}

}  // namespace

const Epilogues& generic_epilogues() {
  static const Epilogues made{codes_epilogue, values_epilogue};
  return made;
}

const Epilogues& epilogues() {
#if defined(__x86_64__)
  if (selected_isa() == Isa::vnni) return vnni_epilogues();
  if (selected_isa() >= Isa::avx2) return avx2_epilogues();
#endif
  return generic_epilogues();
}

}  // namespace apotnet
