#pragma once

#include <cstdint>

namespace apotnet {

/// The inner loops of the CPU back end over float32 arrays. They are written once, in loops_body.h, as plain loops that
/// the compiler turns into vector code, and compiled once for every processor level; `loops()` picks one at run time.
///
/// Tensors of a channel loop are [rows, channels]; per-channel arrays have `channels` entries. Sums are added to
/// `double` accumulators that the caller clears, in an order fixed by the arguments.
struct Loops {
  static constexpr int64_t kTableSize = 256;  // half steps that a byte can tell apart

  const char* name;

  void (*relu)(int64_t count, const float* x, float* y);
  void (*relu_backward)(int64_t count, const float* gy, const float* y, float* gx);
  /// The largest of a window of rows x columns pixels, and the first pixel that has it, of each channel. x is the
  /// window's first pixel, number `first` of an image [height][width][channels].
  void (*largest_of_window)(int64_t channels, const float* x, int64_t rows, int64_t columns, int64_t width,
                            int32_t first, float* y, int32_t* position);
  void (*add)(int64_t count, const float* a, const float* b, float* y);
  void (*scale)(int64_t count, const float* x, float factor, float* y);
  /// y = float(sum) * step
  void (*scale_sums)(int64_t count, const int32_t* sums, float step, float* y);
  /// y = float(code) * step
  void (*decode)(int64_t count, const uint8_t* codes, float step, float* y);

  /// sum += x, squares += x^2
  void (*channel_sums)(int64_t rows, int64_t channels, const float* x, double* sum, double* squares);
  /// The same for the integers of a convolution, [rows][pitch] of which `channels` count.
  void (*integer_sums)(int64_t rows, int64_t channels, int64_t pitch, const int32_t* x, double* sum, double* squares);
  /// sum_g += g, sum_gx += g * (x - mean)
  void (*gradient_sums)(int64_t rows, int64_t channels, const float* g, const float* x, const float* mean,
                        double* sum_g, double* sum_gx);
  /// y = x * scale + shift
  void (*scale_shift)(int64_t rows, int64_t channels, const float* x, const float* scale, const float* shift, float* y);
  /// gx = g * a + (x * b + c)
  void (*norm_gradient)(int64_t rows, int64_t channels, const float* g, const float* x, const float* a, const float* b,
                        const float* c, float* gx);

  /// codes = table[floor(2 K clamp(x / alpha, 0, 1))], K <= 127; the table has kTableSize entries, those above 2 K
  /// unused
  void (*quantize)(int64_t count, const float* x, float alpha, int32_t k, const uint8_t* table, uint8_t* codes);
  /// The same for any K that has a table.
  void (*quantize_wide)(int64_t count, const float* x, float alpha, int32_t k, const int16_t* table, uint8_t* codes);
  /// gx = g inside the clip range, else 0, added to what gx holds where `adds`; returns the sum of alpha's gradient
  /// (F8).
  double (*quantize_gradient)(int64_t count, const float* g, const float* x, const uint8_t* codes, float alpha,
                              int32_t k, bool clips_below, bool adds, float* gx);
  /// codes = sign(z) * table[floor(2 K |z|)], z = clamp(w / alpha, -1, 1), K <= 127
  void (*quantize_signed)(int64_t count, const float* w, float alpha, int32_t k, bool ties_to_lower,
                          const uint8_t* table, int8_t* codes);
  /// gw = g, or 0 outside the clip range where `clips`; returns the sum of alpha's gradient (F6).
  double (*quantize_signed_gradient)(int64_t count, const float* g, const float* w, const int8_t* codes, float alpha,
                                     int32_t k, bool clips, float* gw);

  /// y = relu(x * scale + shift)
  void (*norm_relu)(int64_t rows, int64_t channels, const float* x, const float* scale, const float* shift, float* y);
  /// y = relu(x * scale + shift + shortcut)
  void (*norm_add_relu)(int64_t rows, int64_t channels, const float* x, const float* scale, const float* shift,
                        const float* shortcut, float* y);
  /// codes = quantize(relu(x * scale + shift)), K <= 127
  void (*norm_relu_quantize)(int64_t rows, int64_t channels, const float* x, const float* scale, const float* shift,
                             float alpha, int32_t k, const uint8_t* table, uint8_t* codes);
  /// The sums of gradient_sums over g masked by 0 < relu(x * scale + shift).
  void (*norm_relu_sums)(int64_t rows, int64_t channels, const float* g, const float* x, const float* scale,
                         const float* shift, const float* mean, double* sum_g, double* sum_gx);
  /// The same masked by 0 < relu(x * scale + shift) <= alpha; returns the sum of alpha's gradient.
  double (*norm_relu_quantize_sums)(int64_t rows, int64_t channels, const float* g, const float* x,
                                    const uint8_t* codes, const float* scale, const float* shift, const float* mean,
                                    float alpha, int32_t k, double* sum_g, double* sum_gx);
  /// g = a * (g where 0 < relu(x * scale + shift) <= limit, else 0) + (x * b + c)
  void (*norm_relu_gradient)(int64_t rows, int64_t channels, const float* x, const float* scale, const float* shift,
                             float limit, const float* a, const float* b, const float* c, float* g);
  /// g = g where y > 0, else 0; and the sums of gradient_sums over it
  void (*relu_sums)(int64_t rows, int64_t channels, const float* y, const float* x, const float* mean, float* g,
                    double* sum_g, double* sum_gx);

  /// sum(x) and sum((x - centre)^2), in a fixed order of lanes
  double (*sum)(int64_t count, const float* x);
  double (*sum_of_squares)(int64_t count, const float* x, double centre);
  /// sum(a * b)
  double (*dot)(int64_t count, const float* a, const float* b);
  /// y = (x - mean) / deviation
  void (*standardize)(int64_t count, const float* x, float mean, float deviation, float* y);
  /// gw = (g - mean - w * slope) / deviation
  void (*standardize_gradient)(int64_t count, const float* g, const float* w, double mean, double slope,
                               double deviation, float* gw);

  /// velocity = momentum * velocity + (g + decay * p); p -= rate * velocity
  void (*sgd)(int64_t count, const float* g, float rate, float momentum, float decay, float* p, float* velocity);
};

/// The loops for this processor; APOTNET_ISA=generic in the environment forces the portable ones.
const Loops& loops();
const Loops& generic_loops();
const Loops* avx2_loops();  ///< exists on x86-64 only

}  // namespace apotnet
