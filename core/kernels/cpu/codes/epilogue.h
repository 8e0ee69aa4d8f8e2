#pragma once

#include <cstdint>

#include "core/kernels/cpu/codes/code_table.h"

namespace apotnet {

/// From the sums of a convolution straight to the codes of the next one, where nothing else reads the floats.
///
/// Batch norm, ReLU and quantizer are one monotone function of the integer sum, so a channel is its sorted thresholds:
/// the definition. The vector code computes table[floor(sum * factor + offset)] in float32 instead; whoever fills in
/// factor and offset has checked at every threshold that this gives the same codes (deploy/thresholds.h).
struct CodesEpilogue {
  const int32_t* sums;  ///< [pixels][padded_channels]
  int64_t pixels, channels, padded_channels;
  const int32_t* thresholds;  ///< [channels][levels - 1] ascending; how many are reached counts levels up,
  const uint8_t* rising;      ///< [channels] or down from the top where 0
  const uint8_t* levels;      ///< codes of the levels, ascending
  int64_t level_count;
  const float *factor, *offset;  ///< [padded_channels]; null: thresholds only
  const CodeTable* table;
  uint8_t* codes;        ///< of the first pixel
  int64_t pixel_stride;  ///< bytes between the codes of neighbouring pixels
};

/// A quantizer that reads float values: codes = table[floor(2 K clamp(value / alpha, 0, 1))]; with a sign
/// K + sign(value) * table[.. clamp(|value| / alpha, 0, 1)].
struct QuantizeTarget {
  float alpha;
  const CodeTable* table;
  uint8_t* codes;
  int64_t pixel_stride;
  bool has_sign = false;
};

/// From sums or floats to float values and codes, in exactly evaluation's float32 operations:
///   value = y * scale + shift, + shortcut, max(., 0),  y = float(sum) * step
struct ValuesEpilogue {
  const int32_t* sums;  ///< [pixels][padded_channels], or null:
  const float* y;       ///< the same in float
  float step;
  int64_t pixels, channels, padded_channels;
  const float *scale, *shift;  ///< [channels]; null: neither
  const float* shortcut;       ///< [pixels][channels] or null
  bool relu;
  float* values;  ///< [pixels][channels] or null
  QuantizeTarget targets[2];
  int target_count;
};

/// Both for one instruction set.
struct Epilogues {
  void (*codes)(const CodesEpilogue&);
  void (*values)(const ValuesEpilogue&);
};
const Epilogues& epilogues();  ///< for selected_isa()
const Epilogues& generic_epilogues();
const Epilogues& avx2_epilogues();  ///< these two exist on x86-64 only
const Epilogues& vnni_epilogues();

}  // namespace apotnet
