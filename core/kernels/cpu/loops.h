#pragma once

#include <cstdint>

namespace apotnet {

/// The inner loops of the CPU back end over float32 arrays. They are written once, in loops_body.h, as plain loops that
/// the compiler turns into vector code, and compiled once for every processor level; `loops()` picks one at run time.
///
/// Tensors of a channel loop are [rows, channels]; per-channel arrays have `channels` entries. Sums are added to
/// `double` accumulators that the caller clears, in an order fixed by the arguments.
struct Loops {
  const char* name;

  void (*relu)(int64_t count, const float* x, float* y);
  void (*relu_backward)(int64_t count, const float* gy, const float* y, float* gx);
  void (*add)(int64_t count, const float* a, const float* b, float* y);
  void (*scale)(int64_t count, const float* x, float factor, float* y);
  /// y = float(sum) * step
  void (*scale_sums)(int64_t count, const int32_t* sums, float step, float* y);
  /// y = float(code) * step
  void (*decode)(int64_t count, const uint8_t* codes, float step, float* y);

  /// sum += x, squares += x^2
  void (*channel_sums)(int64_t rows, int64_t channels, const float* x, double* sum, double* squares);
  /// sum_g += g, sum_gx += g * (x - mean)
  void (*gradient_sums)(int64_t rows, int64_t channels, const float* g, const float* x, const float* mean,
                        double* sum_g, double* sum_gx);
  /// y = x * scale + shift
  void (*scale_shift)(int64_t rows, int64_t channels, const float* x, const float* scale, const float* shift, float* y);
  /// gx = g * a + (x * b + c)
  void (*norm_gradient)(int64_t rows, int64_t channels, const float* g, const float* x, const float* a, const float* b,
                        const float* c, float* gx);

  /// codes = table[floor(2 K clamp(x / alpha, 0, 1))]
  void (*quantize)(int64_t count, const float* x, float alpha, int32_t k, const int16_t* table, uint8_t* codes);
  /// gx = g inside the clip range, else 0; returns the sum of alpha's gradient (F8).
  double (*quantize_gradient)(int64_t count, const float* g, const float* x, const uint8_t* codes, float alpha,
                              int32_t k, bool clips_below, float* gx);

  /// velocity = momentum * velocity + (g + decay * p); p -= rate * velocity
  void (*sgd)(int64_t count, const float* g, float rate, float momentum, float decay, float* p, float* velocity);
};

/// The loops for this processor; APOTNET_ISA=generic in the environment forces the portable ones.
const Loops& loops();
const Loops& generic_loops();
const Loops* avx2_loops();  ///< exists on x86-64 only

}  // namespace apotnet
