// The loops of loops.h. No #pragma once: each loops_*.cpp includes this inside a namespace of its own and is compiled
// for one instruction set. Only plain code stands here, so that no inline function of the standard library is compiled
// for a processor that the program may not run on. Where a loop has lanes, they fix the order of a sum independently of
// the vector width.

constexpr int64_t kBlock = 256;  // elements that stay in the first-level cache between two loops over them

// A sum in double whose order does not depend on the vector width. So many lanes that an addition to one of them need
// not wait for the one before.
struct Lanes {
  static constexpr int64_t kLanes = 32;
  double lane[kLanes] = {};

  template <typename Term>
  void add_each(int64_t count, const Term& term) {
    const int64_t whole = count / kLanes * kLanes;
    for (int64_t i = 0; i < whole; i += kLanes)
      for (int64_t l = 0; l < kLanes; ++l) lane[l] += term(i + l);
    for (int64_t i = whole; i < count; ++i) lane[i - whole] += term(i);
  }
  void add_products(int64_t count, const float* a, const float* b) {
    add_each(count, [=](int64_t i) { return static_cast<double>(a[i]) * static_cast<double>(b[i]); });
  }
  double total() const {
    double sum = 0;
    for (int64_t l = 0; l < kLanes; ++l) sum += lane[l];
    return sum;
  }
};

inline void relu(int64_t count, const float* __restrict x, float* __restrict y) {
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] < 0 ? 0 : x[i];
}

inline void relu_backward(int64_t count, const float* __restrict gy, const float* __restrict y, float* __restrict gx) {
  for (int64_t i = 0; i < count; ++i) gx[i] = y[i] > 0 ? gy[i] : 0;
}

// Some channels at a time, of which the largest and their places stay in registers.
inline void largest_of_window(int64_t channels, const float* __restrict x, int64_t rows, int64_t columns, int64_t width,
                              int32_t first, float* __restrict y, int32_t* __restrict position) {
  typedef float Floats __attribute__((vector_size(32)));
  typedef int32_t Ints __attribute__((vector_size(32)));
  constexpr int64_t kLanes = 8;
  int64_t c = 0;
  for (; c + kLanes <= channels; c += kLanes) {
    Floats largest, now;
    __builtin_memcpy(&largest, x + c, sizeof largest);
    Ints at = Ints{} + first;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) {
        __builtin_memcpy(&now, x + (i * width + j) * channels + c, sizeof now);
        const Ints larger = now > largest;
        largest = larger ? now : largest;
        at = larger ? Ints{} + (first + static_cast<int32_t>(i * width + j)) : at;
      }
    __builtin_memcpy(y + c, &largest, sizeof largest);
    __builtin_memcpy(position + c, &at, sizeof at);
  }
  for (; c < channels; ++c) {
    y[c] = x[c];
    position[c] = first;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j)
        if (const float now = x[(i * width + j) * channels + c]; now > y[c]) {
          y[c] = now;
          position[c] = first + static_cast<int32_t>(i * width + j);
        }
  }
}

inline void add(int64_t count, const float* a, const float* b, float* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = a[i] + b[i];
}

inline void scale(int64_t count, const float* x, float factor, float* y) {
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] * factor;
}

inline void scale_sums(int64_t count, const int32_t* __restrict sums, float step, float* __restrict y) {
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<float>(sums[i]) * step;
}

inline void decode(int64_t count, const uint8_t* __restrict codes, float step, float* __restrict y) {
  for (int64_t i = 0; i < count; ++i) y[i] = static_cast<float>(codes[i]) * step;
}

inline void channel_sums(int64_t rows, int64_t channels, const float* __restrict x, double* __restrict sum,
                         double* __restrict squares) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < channels; ++c) {
      const double value = x[r * channels + c];
      sum[c] += value;
      squares[c] += value * value;
    }
}

inline void integer_sums(int64_t rows, int64_t channels, int64_t pitch, const int32_t* __restrict x,
                         double* __restrict sum, double* __restrict squares) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < channels; ++c) {
      const double value = x[r * pitch + c];
      sum[c] += value;
      squares[c] += value * value;
    }
}

inline void gradient_sums(int64_t rows, int64_t channels, const float* __restrict g, const float* __restrict x,
                          const float* __restrict mean, double* __restrict sum_g, double* __restrict sum_gx) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < channels; ++c) {
      const double gradient = g[r * channels + c];
      sum_g[c] += gradient;
      sum_gx[c] += gradient * (x[r * channels + c] - mean[c]);
    }
}

inline void scale_shift(int64_t rows, int64_t channels, const float* __restrict x, const float* __restrict scales,
                        const float* __restrict shift, float* __restrict y) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < channels; ++c) y[r * channels + c] = x[r * channels + c] * scales[c] + shift[c];
}

inline void norm_gradient(int64_t rows, int64_t channels, const float* __restrict g, const float* __restrict x,
                          const float* __restrict a, const float* __restrict b, const float* __restrict c,
                          float* __restrict gx) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < channels; ++i)
      gx[r * channels + i] = g[r * channels + i] * a[i] + (x[r * channels + i] * b[i] + c[i]);
}

// z * two_k - m with the sign of the exact difference, for the rounded product's integer part m.
inline float past(float z, float two_k, int32_t m) {
#ifdef __FMA__
  return __builtin_fmaf(z, two_k, -static_cast<float>(m));
#else
  return static_cast<float>(static_cast<double>(z) * static_cast<double>(two_k) - static_cast<double>(m));
#endif
}

// floor(2 K clamp(y / alpha, 0, 1)) exactly, as half_steps() has it; a NaN takes level 0.
inline int32_t half_step(float y, float alpha, float two_k) {
  const float z = y / alpha, above_zero = z > 0 ? z : 0, inside = above_zero < 1 ? above_zero : 1;
  const int32_t m = static_cast<int32_t>(inside * two_k);
  return m - (past(inside, two_k, m) < 0 ? 1 : 0);
}

inline void quantize(int64_t count, const float* __restrict x, float alpha, int32_t k, const uint8_t* __restrict table,
                     uint8_t* __restrict codes) {
  uint8_t m[kBlock];
  const auto two_k = static_cast<float>(2 * k);
  for (int64_t start = 0; start < count; start += kBlock) {
    const int64_t size = count - start < kBlock ? count - start : kBlock;
    for (int64_t i = 0; i < size; ++i) m[i] = static_cast<uint8_t>(half_step(x[start + i], alpha, two_k));
    look_up(size, m, table, 2 * k + 1, codes + start);
  }
}

inline void quantize_wide(int64_t count, const float* __restrict x, float alpha, int32_t k,
                          const int16_t* __restrict table, uint8_t* __restrict codes) {
  int32_t m[kBlock];
  const auto two_k = static_cast<float>(2 * k);
  for (int64_t start = 0; start < count; start += kBlock) {
    const int64_t size = count - start < kBlock ? count - start : kBlock;
    for (int64_t i = 0; i < size; ++i) m[i] = half_step(x[start + i], alpha, two_k);
    for (int64_t i = 0; i < size; ++i) codes[start + i] = static_cast<uint8_t>(table[m[i]]);
  }
}

inline double quantize_gradient(int64_t count, const float* __restrict g, const float* __restrict x,
                                const uint8_t* __restrict codes, float alpha, int32_t k, bool clips_below, bool adds,
                                float* __restrict gx) {
  Lanes lanes;
  float slope[kBlock], kept[kBlock];
  const float lower = clips_below ? 0.0f : -__builtin_inff(), fk = static_cast<float>(k), k_alpha = fk * alpha;
  for (int64_t start = 0; start < count; start += kBlock) {
    const int64_t size = count - start < kBlock ? count - start : kBlock;
    // slope = K alpha times (q - z inside, 1 above, 0 below a clip): no division, and x > alpha says the same as z > 1,
    // whatever the rounding of the quotient.
    for (int64_t i = 0; i < size; ++i) {
      const float value = x[start + i], inside = static_cast<float>(codes[start + i]) * alpha - value * fk;
      const float not_below = value < lower ? 0.0f : inside;
      slope[i] = value > alpha ? k_alpha : not_below;
      const float below_limit = value > alpha ? 0.0f : g[start + i];
      kept[i] = value < lower ? 0.0f : below_limit;
    }
    if (adds)
      for (int64_t i = 0; i < size; ++i) gx[start + i] += kept[i];
    else
      for (int64_t i = 0; i < size; ++i) gx[start + i] = kept[i];
    lanes.add_products(size, g + start, slope);
  }
  return lanes.total() / (static_cast<double>(fk) * static_cast<double>(alpha));
}

inline void quantize_signed(int64_t count, const float* __restrict w, float alpha, int32_t k, bool ties_to_lower,
                            const uint8_t* __restrict table, int8_t* __restrict codes) {
  uint8_t m[kBlock], magnitude[kBlock];
  const auto two_k = static_cast<float>(2 * k);
  const int32_t tie = ties_to_lower ? 1 : 0;
  for (int64_t start = 0; start < count; start += kBlock) {
    const int64_t size = count - start < kBlock ? count - start : kBlock;
    for (int64_t i = 0; i < size; ++i) {
      const float z = w[start + i] / alpha, size_of_z = z < 0 ? -z : z;
      const float above_zero = size_of_z > 0 ? size_of_z : 0, inside = above_zero < 1 ? above_zero : 1;
      const int32_t step = static_cast<int32_t>(inside * two_k), lowered = step > 0 ? step - tie : 0;
      const float beyond = past(inside, two_k, step);
      m[i] = static_cast<uint8_t>(beyond < 0 ? step - 1 : beyond > 0 ? step : lowered);
    }
    look_up(size, m, table, 2 * k + 1, magnitude);
    for (int64_t i = 0; i < size; ++i) {
      const auto code = static_cast<int8_t>(magnitude[i]);
      codes[start + i] = static_cast<int8_t>(w[start + i] < 0 ? -code : code);
    }
  }
}

inline double quantize_signed_gradient(int64_t count, const float* __restrict g, const float* __restrict w,
                                       const int8_t* __restrict codes, float alpha, int32_t k, bool clips,
                                       float* __restrict gw) {
  Lanes lanes;
  float slope[kBlock];
  const float fk = static_cast<float>(k), limit = clips ? 1.0f : __builtin_inff();
  for (int64_t start = 0; start < count; start += kBlock) {
    const int64_t size = count - start < kBlock ? count - start : kBlock;
    for (int64_t i = 0; i < size; ++i) {
      const float z = w[start + i] / alpha, size_of_z = z < 0 ? -z : z, sign = z > 0 ? 1.0f : -1.0f;
      const float inside = static_cast<float>(codes[start + i]) / fk - z;
      slope[i] = size_of_z > 1 ? sign : inside;
      gw[start + i] = size_of_z > limit ? 0.0f : g[start + i];
    }
    lanes.add_products(size, g + start, slope);
  }
  return lanes.total();
}

inline float normed_relu(float x, float factor, float shift) {
  const float y = x * factor + shift;
  return y < 0 ? 0 : y;
}

inline void norm_relu(int64_t rows, int64_t channels, const float* __restrict x, const float* __restrict factor,
                      const float* __restrict shift, float* __restrict y) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < channels; ++c) y[r * channels + c] = normed_relu(x[r * channels + c], factor[c], shift[c]);
}

inline void norm_add_relu(int64_t rows, int64_t channels, const float* __restrict x, const float* __restrict factor,
                          const float* __restrict shift, const float* __restrict shortcut, float* __restrict y) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < channels; ++c) {
      const float sum = (x[r * channels + c] * factor[c] + shift[c]) + shortcut[r * channels + c];
      y[r * channels + c] = sum < 0 ? 0 : sum;
    }
}

inline void norm_relu_quantize(int64_t rows, int64_t channels, const float* __restrict x,
                               const float* __restrict factor, const float* __restrict shift, float alpha, int32_t k,
                               const uint8_t* __restrict table, uint8_t* __restrict codes) {
  uint8_t m[kBlock];
  const auto two_k = static_cast<float>(2 * k);
  for (int64_t r = 0; r < rows; ++r, x += channels, codes += channels)
    for (int64_t start = 0; start < channels; start += kBlock) {
      const int64_t size = channels - start < kBlock ? channels - start : kBlock;
      for (int64_t i = 0; i < size; ++i)
        m[i] = static_cast<uint8_t>(
            half_step(normed_relu(x[start + i], factor[start + i], shift[start + i]), alpha, two_k));
      look_up(size, m, table, 2 * k + 1, codes + start);
    }
}

inline void norm_relu_sums(int64_t rows, int64_t channels, const float* __restrict g, const float* __restrict x,
                           const float* __restrict factor, const float* __restrict shift, const float* __restrict mean,
                           double* __restrict sum_g, double* __restrict sum_gx) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < channels; ++c) {
      const float value = x[r * channels + c];
      const double gradient = normed_relu(value, factor[c], shift[c]) > 0 ? g[r * channels + c] : 0.0f;
      sum_g[c] += gradient;
      sum_gx[c] += gradient * (value - mean[c]);
    }
}

inline double norm_relu_quantize_sums(int64_t rows, int64_t channels, const float* __restrict g,
                                      const float* __restrict x, const uint8_t* __restrict codes,
                                      const float* __restrict factor, const float* __restrict shift,
                                      const float* __restrict mean, float alpha, int32_t k, double* __restrict sum_g,
                                      double* __restrict sum_gx) {
  Lanes lanes;
  float slope[kBlock], kept[kBlock];
  const float fk = static_cast<float>(k), k_alpha = fk * alpha;
  for (int64_t r = 0; r < rows; ++r, g += channels, x += channels, codes += channels)
    for (int64_t start = 0; start < channels; start += kBlock) {
      const int64_t size = channels - start < kBlock ? channels - start : kBlock;
      for (int64_t j = 0; j < size; ++j) {
        const int64_t i = start + j;
        const float y = normed_relu(x[i], factor[i], shift[i]);  // masks and slope as in quantize_gradient
        const float inside = static_cast<float>(codes[i]) * alpha - y * fk;
        slope[j] = y > alpha ? k_alpha : inside;
        const float below_limit = y > alpha ? 0.0f : g[i];
        kept[j] = y > 0 ? below_limit : 0.0f;
      }
      for (int64_t j = 0; j < size; ++j) {
        const double gradient = kept[j];
        sum_g[start + j] += gradient;
        sum_gx[start + j] += gradient * (x[start + j] - mean[start + j]);
      }
      lanes.add_products(size, g + start, slope);
    }
  return lanes.total() / (static_cast<double>(fk) * static_cast<double>(alpha));
}

inline void norm_relu_gradient(int64_t rows, int64_t channels, const float* __restrict x,
                               const float* __restrict factor, const float* __restrict shift, float limit,
                               const float* __restrict a, const float* __restrict b, const float* __restrict c,
                               float* __restrict g) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t i = 0; i < channels; ++i) {
      const float value = x[r * channels + i], y = normed_relu(value, factor[i], shift[i]);
      const float below_limit = y > limit ? 0.0f : g[r * channels + i], kept = y > 0 ? below_limit : 0.0f;
      g[r * channels + i] = kept * a[i] + (value * b[i] + c[i]);
    }
}

inline void relu_sums(int64_t rows, int64_t channels, const float* __restrict y, const float* __restrict x,
                      const float* __restrict mean, float* __restrict g, double* __restrict sum_g,
                      double* __restrict sum_gx) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < channels; ++c) {
      const float kept = y[r * channels + c] > 0 ? g[r * channels + c] : 0.0f;
      g[r * channels + c] = kept;
      sum_g[c] += static_cast<double>(kept);
      sum_gx[c] += static_cast<double>(kept) * static_cast<double>(x[r * channels + c] - mean[c]);
    }
}

inline double sum(int64_t count, const float* __restrict x) {
  Lanes lanes;
  lanes.add_each(count, [=](int64_t i) { return static_cast<double>(x[i]); });
  return lanes.total();
}

inline double sum_of_squares(int64_t count, const float* __restrict x, double centre) {
  Lanes lanes;
  lanes.add_each(count, [=](int64_t i) { return (x[i] - centre) * (x[i] - centre); });
  return lanes.total();
}

inline double dot(int64_t count, const float* __restrict a, const float* __restrict b) {
  Lanes lanes;
  lanes.add_products(count, a, b);
  return lanes.total();
}

inline void standardize(int64_t count, const float* __restrict x, float mean, float deviation, float* __restrict y) {
  for (int64_t i = 0; i < count; ++i) y[i] = (x[i] - mean) / deviation;
}

inline void standardize_gradient(int64_t count, const float* __restrict g, const float* __restrict w, double mean,
                                 double slope, double deviation, float* __restrict gw) {
  for (int64_t i = 0; i < count; ++i) gw[i] = static_cast<float>((g[i] - mean - w[i] * slope) / deviation);
}

inline void sgd(int64_t count, const float* __restrict g, float rate, float momentum, float decay, float* __restrict p,
                float* __restrict velocity) {
  for (int64_t i = 0; i < count; ++i) {
    velocity[i] = momentum * velocity[i] + (g[i] + decay * p[i]);
    p[i] -= rate * velocity[i];
  }
}

inline constexpr Loops kLoops{kName,
                              relu,
                              relu_backward,
                              largest_of_window,
                              add,
                              scale,
                              scale_sums,
                              decode,
                              channel_sums,
                              integer_sums,
                              gradient_sums,
                              scale_shift,
                              norm_gradient,
                              quantize,
                              quantize_wide,
                              quantize_gradient,
                              quantize_signed,
                              quantize_signed_gradient,
                              norm_relu,
                              norm_add_relu,
                              norm_relu_quantize,
                              norm_relu_sums,
                              norm_relu_quantize_sums,
                              norm_relu_gradient,
                              relu_sums,
                              sum,
                              sum_of_squares,
                              dot,
                              standardize,
                              standardize_gradient,
                              sgd};
