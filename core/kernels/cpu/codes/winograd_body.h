// The input transform of winograd.h, for the two kernels. No #pragma once: included inside a namespace of each.

// One vertical combination of four rows; unsigned arithmetic wraps, which the later addition of the offset undoes.
typedef uint8_t Bytes32 __attribute__((vector_size(32)));

template <typename Bytes>
inline Bytes load_bytes(const uint8_t* from) {
  Bytes value;
  __builtin_memcpy(&value, from, sizeof(Bytes));
  return value;
}
template <typename Bytes>
inline void store_bytes(uint8_t* to, Bytes value) {
  __builtin_memcpy(to, &value, sizeof(Bytes));
}

inline int64_t rounded_up(int64_t value, int64_t step) { return (value + step - 1) / step * step; }

// combined[4][length]: rows d0-d2, d1+d2, d2-d1, d1-d3 of the frame, the full width of a row of tiles.
inline void transform_rows(const uint8_t* input, int64_t row_stride, int64_t length, uint8_t* combined) {
  const int64_t pitch = rounded_up(length, 32);
  for (int64_t i = 0; i < length; i += 32) {
    const auto d0 = load_bytes<Bytes32>(input + i), d1 = load_bytes<Bytes32>(input + row_stride + i),
               d2 = load_bytes<Bytes32>(input + 2 * row_stride + i),
               d3 = load_bytes<Bytes32>(input + 3 * row_stride + i);
    store_bytes(combined + i, d0 - d2);
    store_bytes(combined + pitch + i, d1 + d2);
    store_bytes(combined + 2 * pitch + i, d2 - d1);
    store_bytes(combined + 3 * pitch + i, d1 - d3);
  }
}

// transformed[16][tiles][channels] of one row of tiles, from `first_tile` on.
template <typename Bytes>
inline void transform_columns(const WinogradStrip& s, const uint8_t* combined, int64_t first_tile, int64_t tiles,
                              uint8_t* transformed) {
  const int64_t c = s.channels, pitch = rounded_up((2 * s.tiles_per_row + 2) * c, 32), position = tiles * c;
  const Bytes offset = Bytes{} + s.offset;
  for (int64_t row = 0; row < 4; ++row)
    for (int64_t tile = 0; tile < s.tiles_per_row; ++tile)
      for (int64_t i = 0; i < c; i += static_cast<int64_t>(sizeof(Bytes))) {
        const uint8_t* from = combined + row * pitch + 2 * tile * c + i;
        uint8_t* to = transformed + 4 * row * position + (first_tile + tile) * c + i;
        const auto d0 = load_bytes<Bytes>(from), d1 = load_bytes<Bytes>(from + c), d2 = load_bytes<Bytes>(from + 2 * c),
                   d3 = load_bytes<Bytes>(from + 3 * c);
        store_bytes(to, d0 - d2 + offset);
        store_bytes(to + position, row == 1 ? d1 + d2 : d1 + d2 + offset);
        store_bytes(to + 2 * position, d2 - d1 + offset);
        store_bytes(to + 3 * position, d1 - d3 + offset);
      }
}

// Scratch of a strip: the combined rows, the transformed input, then the products.
struct WinogradScratch {
  uint8_t *combined, *transformed, *products;
};

inline WinogradScratch transform_input(const WinogradStrip& s, int64_t tiles) {
  const int64_t length = (2 * s.tiles_per_row + 2) * s.channels;
  uint8_t* combined = s.scratch;
  uint8_t* transformed = combined + rounded_up(4 * rounded_up(length, 32), 64);
  for (int64_t row = 0; row < s.tile_rows; ++row) {
    transform_rows(s.input + 2 * row * s.row_stride, s.row_stride, length, combined);
    if (s.channels % kWidest == 0)
      transform_columns<BytesWidest>(s, combined, row * s.tiles_per_row, tiles, transformed);
    else
      transform_columns<Bytes16>(s, combined, row * s.tiles_per_row, tiles, transformed);
  }
  return {combined, transformed, transformed + 16 * tiles * s.channels};
}
