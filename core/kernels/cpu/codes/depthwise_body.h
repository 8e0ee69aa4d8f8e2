// Depthwise sums over loops that a compiler turns into vector code of the instruction set that the file is compiled
// for. No #pragma once: included inside a namespace of each file.

/// sums [pixels][padded]: of each channel its window of the frame times its weights [window][padded]. `first` points to
/// the window of the first pixel; the windows of neighbouring pixels are `pixel_step` bytes apart.
inline void depthwise_row(const uint8_t* first, int64_t pixels, int64_t pixel_step, const int64_t* window,
                          int64_t window_size, const int16_t* weights, int64_t padded, int32_t* sums) {
  for (int64_t x = 0; x < pixels; ++x, first += pixel_step, sums += padded)
    for (int64_t c = 0; c < padded; c += 16) {
      int32_t block[16] = {};
      for (int64_t i = 0; i < window_size; ++i) {
        const uint8_t* in = first + window[i] + c;
        const int16_t* w = weights + i * padded + c;
        for (int o = 0; o < 16; ++o) block[o] += int32_t{in[o]} * w[o];
      }
      std::memcpy(sums + c, block, sizeof block);
    }
}
