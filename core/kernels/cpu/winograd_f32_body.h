// The kernels of winograd_f32.h. No #pragma once: each winograd_f32_*.cpp includes this inside a namespace of its own,
// after Vector (kLanes floats), load(const uint8_t*), multiply_add and the sizes of the register blocks.
// Only plain code stands here, so that no inline function of the standard library is compiled for a processor that the
// program may not run on.

typedef float Unaligned __attribute__((vector_size(sizeof(Vector)), aligned(4), may_alias));

inline Vector load(const float* p) { return *reinterpret_cast<const Unaligned*>(p); }
inline void store(float* p, Vector v) { *reinterpret_cast<Unaligned*>(p) = v; }

constexpr int64_t kTile = kWinogradTile, kPatch = 6, kPositions = kWinogradPositions, kBlock = kWinogradBlock;
constexpr float kA = 0.75f, kB = 1.5f, kAA = kA * kA, kBB = kB * kB, kSum = kAA + kBB, kProduct = kAA * kBB;

// 1 / product of the differences of a point to the others. The matrices below leave this factor out.
constexpr float kFactor[kPatch] = {1 / kProduct,
                                   1 / (2 * kAA * (kAA - kBB)),
                                   1 / (2 * kAA * (kAA - kBB)),
                                   1 / (2 * kBB * (kBB - kAA)),
                                   1 / (2 * kBB * (kBB - kAA)),
                                   1};

// Six neighbours to the six positions (B' of Winograd's algorithm).
inline void to_positions(const Vector d[6], Vector out[6]) {
  const Vector even_a = multiply_add(-kBB, d[2], d[4]), odd_a = multiply_add(-kBB, d[1], d[3]);
  const Vector even_b = multiply_add(-kAA, d[2], d[4]), odd_b = multiply_add(-kAA, d[1], d[3]);
  out[0] = multiply_add(kProduct, d[0], multiply_add(-kSum, d[2], d[4]));
  out[1] = multiply_add(kA, odd_a, even_a);
  out[2] = multiply_add(-kA, odd_a, even_a);
  out[3] = multiply_add(kB, odd_b, even_b);
  out[4] = multiply_add(-kB, odd_b, even_b);
  out[5] = multiply_add(kProduct, d[1], multiply_add(-kSum, d[3], d[5]));
}

// The polynomial of four (three) coefficients at the six points (G).
inline void evaluate(const Vector g[4], Vector out[6]) {
  const Vector even_a = multiply_add(kAA, g[2], g[0]), odd_a = multiply_add(kAA, g[3], g[1]);
  const Vector even_b = multiply_add(kBB, g[2], g[0]), odd_b = multiply_add(kBB, g[3], g[1]);
  out[0] = g[0];
  out[1] = multiply_add(kA, odd_a, even_a);
  out[2] = multiply_add(-kA, odd_a, even_a);
  out[3] = multiply_add(kB, odd_b, even_b);
  out[4] = multiply_add(-kB, odd_b, even_b);
  out[5] = g[3];
}

// Six positions to kCount results, 3 or 4 (A').
template <int kCount>
inline void from_positions(const Vector m[6], Vector out[kCount]) {
  const Vector even_a = m[1] + m[2], odd_a = m[1] - m[2], even_b = m[3] + m[4], odd_b = m[3] - m[4];
  out[0] = m[0] + even_a + even_b;
  out[1] = multiply_add(kB, odd_b, kA * odd_a);
  out[2] = multiply_add(kBB, even_b, kAA * even_a);
  if constexpr (kCount == 4)
    out[3] = multiply_add(kBB * kB, odd_b, multiply_add(kAA * kA, odd_a, m[5]));
  else
    out[2] += m[5];
}

// One tile after the other: row by row, image by image.
struct Tile {
  int64_t rows, columns, image = 0, row = 0, column = 0;

  explicit Tile(const WinogradShape& s)
      : rows((s.height + kTile - 1) / kTile), columns((s.width + kTile - 1) / kTile) {}
  void next() {
    if (++column < columns) return;
    column = 0;
    if (++row < rows) return;
    row = 0;
    ++image;
  }
};

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// The pixels of `size` x `size` around a tile, from `before` pixels above and left of it. What lies outside the image
// is read as zero: rows from `zeros`, columns are those not in [first, last).
template <typename Element, int kSize>
struct Window {
  const Element* row[kSize];
  int64_t first, last;

  Window(const WinogradShape& s, int64_t channels, const Element* image, const Tile& tile, int64_t before,
         const float* zeros) {
    const int64_t top = tile.row * kTile - before, left = tile.column * kTile - before;
    first = left < 0 ? -left : 0;
    last = smaller(kSize, s.width - left);
    for (int64_t i = 0; i < kSize; ++i)
      row[i] = top + i < 0 || top + i >= s.height
                   ? reinterpret_cast<const Element*>(zeros)
                   : image + (((tile.image * s.height) + top + i) * s.width + left + first) * channels;
  }
};

// A window of kSize x kSize pixels becomes the 36 positions of a tile, `stride` floats apart.
template <typename Element, int kSize, typename Transform>
inline void transform_window(const Window<Element, kSize>& window, int64_t channels, Transform transform, float* out,
                             int64_t stride) {
  for (int64_t c = 0; c < channels; c += kLanes) {
    Vector middle[kPatch][kSize];
#pragma GCC unroll 6
    for (int64_t j = 0; j < kSize; ++j) {
      if (j < window.first || j >= window.last) {
        for (int64_t i = 0; i < kPatch; ++i) middle[i][j] = Vector{};
        continue;
      }
      Vector column[kSize], transformed[kPatch];
      for (int64_t i = 0; i < kSize; ++i) column[i] = load(window.row[i] + (j - window.first) * channels + c);
      transform(column, transformed);
      for (int64_t i = 0; i < kPatch; ++i) middle[i][j] = transformed[i];
    }
#pragma GCC unroll 6
    for (int64_t i = 0; i < kPatch; ++i) {
      Vector transformed[kPatch];
      transform(middle[i], transformed);
      for (int64_t j = 0; j < kPatch; ++j) store(out + (i * kPatch + j) * stride + c * kBlock, transformed[j]);
    }
  }
}

struct ToPositions {
  void operator()(const Vector* d, Vector* out) const { to_positions(d, out); }
};
struct Evaluate {
  void operator()(const Vector* g, Vector* out) const { evaluate(g, out); }
};

// The 36 positions of a tile become its 4x4 pixels; those outside the image are dropped.
inline void store_tile(const WinogradShape& s, const Tile& tile, const float* positions, int64_t stride, float* gx) {
  const int64_t top = tile.row * kTile, left = tile.column * kTile;
  const int64_t rows = smaller(kTile, s.height - top), columns = smaller(kTile, s.width - left);
  float* out = gx + ((tile.image * s.height + top) * s.width + left) * s.channels;
  for (int64_t c = 0; c < s.channels; c += kLanes) {
    Vector middle[kTile][kPatch];
#pragma GCC unroll 6
    for (int64_t j = 0; j < kPatch; ++j) {
      Vector column[kPatch], transformed[kTile];
      for (int64_t i = 0; i < kPatch; ++i) column[i] = load(positions + (i * kPatch + j) * stride + c * kBlock);
      from_positions<kTile>(column, transformed);
      for (int64_t i = 0; i < kTile; ++i) middle[i][j] = transformed[i];
    }
#pragma GCC unroll 4
    for (int64_t i = 0; i < kTile; ++i) {
      if (i >= rows) break;
      Vector pixels[kTile];
      from_positions<kTile>(middle[i], pixels);
      for (int64_t j = 0; j < kTile; ++j)
        if (j < columns) store(out + (i * s.width + j) * s.channels + c, pixels[j]);
    }
  }
}

// out[tile][c] = sum over k of a[tile][k] * b[k][c] for as many tiles and vectors of channels as fit the registers
template <int kRows, int kVectors>
inline void multiply_rows(int64_t depth, const float* a, const float* b, float* out) {
  Vector sum[kRows][kVectors] = {};
  for (int64_t start = 0; start < depth; start += kLanes)
    for (int64_t k = 0; k < kLanes; ++k) {
      Vector right[kVectors];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) right[v] = load(b + (v * depth + start + k) * kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const float left = a[start * kBlock + r * kLanes + k];
#pragma GCC unroll 4
        for (int v = 0; v < kVectors; ++v) sum[r][v] = multiply_add(left, right[v], sum[r][v]);
      }
    }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(out + (v * kBlock + r) * kLanes, sum[r][v]);
}

// out [tiles, channels] = a [tiles, depth] x b [depth, channels]; tiles a multiple of kRowsMultiple
inline void multiply(int64_t tiles, int64_t depth, int64_t channels, const float* a, const float* b, float* out) {
  int64_t c = 0;
  for (; c + 2 * kLanes <= channels; c += 2 * kLanes)
    for (int64_t t = 0; t < tiles; t += kRowsOfTwo)
      multiply_rows<kRowsOfTwo, 2>(depth, a + t * kLanes, b + c * depth, out + c * kBlock + t * kLanes);
  for (; c < channels; c += kLanes)
    for (int64_t t = 0; t < tiles; t += kRowsOfOne)
      multiply_rows<kRowsOfOne, 1>(depth, a + t * kLanes, b + c * depth, out + c * kBlock + t * kLanes);
}

// sums[o][c] += sum over tiles of gy[tile][o] * x[tile][c] for as many outputs and vectors of channels as fit
template <int kRows, int kVectors>
inline void accumulate_rows(int64_t tiles, int64_t outputs, const float* gy, const float* x, float* sums, bool first) {
  Vector sum[kRows][kVectors] = {};
  if (!first) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[r][v] = load(sums + (v * outputs + r) * kLanes);
  }
  for (int64_t t = 0; t < tiles; ++t) {
    Vector right[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) right[v] = load(x + (v * kBlock + t) * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const float left = gy[t * kLanes + r];
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) sum[r][v] = multiply_add(left, right[v], sum[r][v]);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(sums + (v * outputs + r) * kLanes, sum[r][v]);
}

inline void accumulate(int64_t tiles, int64_t outputs, int64_t channels, const float* gy, const float* x, float* sums,
                       bool first) {
  const auto gy_of = [&](int64_t o) { return gy + o / kLanes * kBlock * kLanes + o % kLanes; };
  int64_t c = 0;
  for (; c + 2 * kLanes <= channels; c += 2 * kLanes)
    for (int64_t o = 0; o < outputs; o += kOutputsOfTwo)
      accumulate_rows<kOutputsOfTwo, 2>(tiles, outputs, gy_of(o), x + c * kBlock, sums + c * outputs + o * kLanes,
                                        first);
  for (; c < channels; c += kLanes)
    for (int64_t o = 0; o < outputs; o += kOutputsOfOne)
      accumulate_rows<kOutputsOfOne, 1>(tiles, outputs, gy_of(o), x + c * kBlock, sums + c * outputs + o * kLanes,
                                        first);
}

// The mirrored 3x3 weights of each pair of channels, at the 36 positions.
inline void transform_weight(int64_t channels, int64_t outputs, const float* w, float* transformed) {
  for (int64_t o = 0; o < outputs; ++o)
    for (int64_t c = 0; c < channels; c += kLanes) {
      Vector middle[kPatch][4];
      for (int64_t j = 0; j < 3; ++j) {
        Vector column[4] = {}, points[kPatch];
        for (int64_t i = 0; i < 3; ++i) column[i] = load(w + ((o * 3 + 2 - i) * 3 + 2 - j) * channels + c);
        evaluate(column, points);
        points[5] = column[2];
        for (int64_t i = 0; i < kPatch; ++i) middle[i][j] = points[i];
      }
      for (int64_t i = 0; i < kPatch; ++i) {
        Vector points[kPatch];
        middle[i][3] = Vector{};
        evaluate(middle[i], points);
        points[5] = middle[i][2];
        for (int64_t j = 0; j < kPatch; ++j)
          store(transformed + (i * kPatch + j) * outputs * channels + c * outputs + o * kLanes,
                kFactor[i] * kFactor[j] * points[j]);
      }
    }
}

// Distance of two positions in the scratch: an odd number of cache lines, so that the 36 lines of a tile fall into
// different sets of the first level cache.
inline int64_t distance(int64_t channels) { return kBlock * channels + 16; }

// Fetches memory that the next block reads or writes, a part during each position's product: without this the
// transforms wait for memory and the products leave it idle.
struct Ahead {
  const char* begin = nullptr;
  int64_t bytes = 0;

  // The rows of `image` below tiles [start, start + tiles), a little more at either end.
  template <typename Element>
  Ahead(const WinogradShape& s, int64_t channels, const Element* image, int64_t start, int64_t tiles) {
    const int64_t columns = (s.width + kTile - 1) / kTile, per_image = (s.height + kTile - 1) / kTile * columns;
    const auto row_of = [&](int64_t tile) {
      const int64_t row = tile / per_image * s.height + tile % per_image / columns * kTile;
      return smaller(row, s.images * s.height);
    };
    const int64_t row_bytes = s.width * channels * static_cast<int64_t>(sizeof(Element));
    begin = reinterpret_cast<const char*>(image) + row_of(start) * row_bytes;
    bytes = (row_of(start + tiles) - row_of(start)) * row_bytes;
  }
  template <int kWrite>
  void fetch(int64_t position) const {
    const char* end = begin + bytes * (position + 1) / kPositions;
    for (const char* line = begin + bytes * position / kPositions; line < end; line += 64)
      __builtin_prefetch(line, kWrite, 2);
  }
};

inline void backward_input(const WinogradShape& s, const float* gy, const float* transformed, float* scratch,
                           float* gx) {
  const int64_t gy_stride = distance(s.outputs), gx_stride = distance(s.channels);
  float *zeros = scratch, *gys = zeros + kPatch * s.outputs, *gxs = gys + kPositions * gy_stride;
  for (int64_t i = 0; i < kPatch * s.outputs; ++i) zeros[i] = 0;
  Tile from(s), to(s);
  const int64_t all = s.images * from.rows * from.columns;
  for (int64_t start = 0; start < all; start += kBlock) {
    const int64_t tiles = smaller(kBlock, all - start);
    for (int64_t t = 0; t < tiles; ++t, from.next())
      transform_window(Window<float, 6>(s, s.outputs, gy, from, 1, zeros), s.outputs, ToPositions{}, gys + t * kLanes,
                       gy_stride);
    // Rows after the last tile are computed from what the scratch happens to hold, and never read.
    const int64_t rows = (tiles + kRowsMultiple - 1) / kRowsMultiple * kRowsMultiple;
    const Ahead reads(s, s.outputs, gy, start + kBlock, kBlock), writes(s, s.channels, gx, start, kBlock);
    for (int64_t p = 0; p < kPositions; ++p) {
      reads.fetch<0>(p);
      writes.fetch<1>(p);
      multiply(rows, s.outputs, s.channels, gys + p * gy_stride, transformed + p * s.outputs * s.channels,
               gxs + p * gx_stride);
    }
    for (int64_t t = 0; t < tiles; ++t, to.next()) store_tile(s, to, gxs + t * kLanes, gx_stride, gx);
  }
}

// gw = step * the sums, back from the 36 positions.
inline void inverse_weight(const WinogradShape& s, const float* sums, float step, float* gw) {
  for (int64_t o = 0; o < s.outputs; ++o)
    for (int64_t c = 0; c < s.channels; c += kLanes) {
      Vector middle[3][kPatch];
      for (int64_t j = 0; j < kPatch; ++j) {
        Vector column[kPatch], points[3];
        for (int64_t i = 0; i < kPatch; ++i)
          column[i] = kFactor[i] * kFactor[j] *
                      load(sums + (i * kPatch + j) * s.outputs * s.channels + c * s.outputs + o * kLanes);
        from_positions<3>(column, points);
        for (int64_t i = 0; i < 3; ++i) middle[i][j] = points[i];
      }
      for (int64_t i = 0; i < 3; ++i) {
        Vector points[3];
        from_positions<3>(middle[i], points);
        for (int64_t j = 0; j < 3; ++j) store(gw + ((o * 3 + i) * 3 + j) * s.channels + c, step * points[j]);
      }
    }
}

template <typename Element>
inline void backward_weight(const WinogradShape& s, const float* gy, const Element* x, float step, float* scratch,
                            float* gw) {
  const int64_t gy_stride = distance(s.outputs), x_stride = distance(s.channels);
  const int64_t widest = s.outputs > s.channels ? s.outputs : s.channels;
  float *zeros = scratch, *gys = zeros + kPatch * widest, *xs = gys + kPositions * gy_stride,
        *sums = xs + kPositions * x_stride;
  for (int64_t i = 0; i < kPatch * widest; ++i) zeros[i] = 0;
  Tile tile(s);
  const int64_t all = s.images * tile.rows * tile.columns;
  for (int64_t start = 0; start < all; start += kBlock) {
    const int64_t tiles = smaller(kBlock, all - start);
    for (int64_t t = 0; t < tiles; ++t, tile.next()) {
      transform_window(Window<float, 4>(s, s.outputs, gy, tile, 0, zeros), s.outputs, Evaluate{}, gys + t * kLanes,
                       gy_stride);
      transform_window(Window<Element, 6>(s, s.channels, x, tile, 1, zeros), s.channels, ToPositions{}, xs + t * kLanes,
                       x_stride);
    }
    const Ahead gy_reads(s, s.outputs, gy, start + kBlock, kBlock), x_reads(s, s.channels, x, start + kBlock, kBlock);
    for (int64_t p = 0; p < kPositions; ++p) {
      gy_reads.fetch<0>(p);
      x_reads.fetch<0>(p);
      accumulate(tiles, s.outputs, s.channels, gys + p * gy_stride, xs + p * x_stride,
                 sums + p * s.outputs * s.channels, start == 0);
    }
  }
  inverse_weight(s, sums, step, gw);
}

inline constexpr WinogradKernels kWinograd{
    kName, kLanes, transform_weight, backward_input, backward_weight<float>, backward_weight<uint8_t>};
