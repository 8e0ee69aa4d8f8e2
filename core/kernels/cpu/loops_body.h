// The loops of loops.h. No #pragma once: each loops_*.cpp includes this inside a namespace of its own and is compiled
// for one instruction set. Only plain code stands here, so that no inline function of the standard library is compiled
// for a processor that the program may not run on. Where a loop has lanes, they fix the order of a sum independently of
// the vector width.

inline void relu(int64_t count, const float* __restrict x, float* __restrict y) {
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] < 0 ? 0 : x[i];
}

inline void relu_backward(int64_t count, const float* __restrict gy, const float* __restrict y, float* __restrict gx) {
  for (int64_t i = 0; i < count; ++i) gx[i] = y[i] > 0 ? gy[i] : 0;
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

inline void quantize(int64_t count, const float* __restrict x, float alpha, int32_t k, const int16_t* __restrict table,
                     uint8_t* __restrict codes) {
  constexpr int64_t kBlock = 256;  // half steps of a block in vector code, then the look-ups
  int32_t m[kBlock];
  const float two_k = static_cast<float>(2 * k);
  for (int64_t start = 0; start < count; start += kBlock) {
    const int64_t size = count - start < kBlock ? count - start : kBlock;
    for (int64_t i = 0; i < size; ++i) {
      const float z = x[start + i] / alpha;
      const float above_zero = z > 0 ? z : 0;  // a NaN takes level 0
      m[i] = static_cast<int32_t>((above_zero < 1 ? above_zero : 1) * two_k);
    }
    for (int64_t i = 0; i < size; ++i) codes[start + i] = static_cast<uint8_t>(table[m[i]]);
  }
}

inline double quantize_gradient(int64_t count, const float* __restrict g, const float* __restrict x,
                                const uint8_t* __restrict codes, float alpha, int32_t k, bool clips_below,
                                float* __restrict gx) {
  constexpr int64_t kLanes = 8, kBlock = 256;
  double lanes[kLanes] = {};
  float slope[kBlock];
  const float lower = clips_below ? 0.0f : -__builtin_inff(), fk = static_cast<float>(k);
  for (int64_t start = 0; start < count; start += kBlock) {
    const int64_t size = count - start < kBlock ? count - start : kBlock;
    // slope = q - z inside, 1 above, 0 below a clip: q - clamp(z), and 1 more above, where q = 1.
    for (int64_t i = 0; i < size; ++i) {
      const float z = x[start + i] / alpha, q = static_cast<float>(codes[start + i]) / fk;
      const float capped = z > 1 ? 1.0f : z, clamped = capped < lower ? lower : capped;
      slope[i] = (q - clamped) + (z > 1 ? 1.0f : 0.0f);
    }
    for (int64_t i = 0; i < size; ++i) {
      const float z = x[start + i] / alpha, kept = z > 1 ? 0.0f : g[start + i];
      gx[start + i] = z < lower ? 0.0f : kept;
    }
    const int64_t whole = size / kLanes * kLanes;
    for (int64_t i = 0; i < whole; i += kLanes)
      for (int64_t lane = 0; lane < kLanes; ++lane)
        lanes[lane] += static_cast<double>(g[start + i + lane]) * static_cast<double>(slope[i + lane]);
    for (int64_t i = whole; i < size; ++i)
      lanes[i - whole] += static_cast<double>(g[start + i]) * static_cast<double>(slope[i]);
  }
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

inline void sgd(int64_t count, const float* __restrict g, float rate, float momentum, float decay, float* __restrict p,
                float* __restrict velocity) {
  for (int64_t i = 0; i < count; ++i) {
    velocity[i] = momentum * velocity[i] + (g[i] + decay * p[i]);
    p[i] -= rate * velocity[i];
  }
}

inline constexpr Loops kLoops{
    kName,        relu,          relu_backward, add,           scale,    scale_sums,        decode,
    channel_sums, gradient_sums, scale_shift,   norm_gradient, quantize, quantize_gradient, sgd};
