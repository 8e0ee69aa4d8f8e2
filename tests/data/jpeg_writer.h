#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include <jpeglib.h>

namespace apotnet::test {

/// What a test wants to be special about a JPEG, called after the library's defaults.
using JpegSettings = std::function<void(jpeg_compress_struct&)>;

/// `pixels` [height, width, components of `space`] as a JPEG file of quality 95.
inline std::string write_jpeg(const std::vector<uint8_t>& pixels, int height, int width, J_COLOR_SPACE space,
                              const JpegSettings& settings = {}) {
  jpeg_compress_struct state{};
  jpeg_error_mgr errors{};
  state.err = jpeg_std_error(&errors);  // ends the program on an error, which is a bug of the test
  jpeg_create_compress(&state);
  unsigned char* bytes = nullptr;
  unsigned long count = 0;
  jpeg_mem_dest(&state, &bytes, &count);
  state.image_height = static_cast<JDIMENSION>(height);
  state.image_width = static_cast<JDIMENSION>(width);
  state.in_color_space = space;
  state.input_components = space == JCS_CMYK ? 4 : space == JCS_RGB ? 3 : space == JCS_UNKNOWN ? 2 : 1;
  jpeg_set_defaults(&state);
  jpeg_set_quality(&state, 95, TRUE);
  if (settings) settings(state);
  jpeg_start_compress(&state, TRUE);
  const size_t row_bytes = pixels.size() / static_cast<size_t>(height);
  while (state.next_scanline < state.image_height) {
    JSAMPROW row = const_cast<JSAMPROW>(pixels.data() + row_bytes * state.next_scanline);
    jpeg_write_scanlines(&state, &row, 1);
  }
  jpeg_finish_compress(&state);
  jpeg_destroy_compress(&state);
  const std::string file(reinterpret_cast<char*>(bytes), count);
  std::free(bytes);
  return file;
}

}  // namespace apotnet::test
