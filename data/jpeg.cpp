// JPEG by libjpeg-turbo. The library reports errors through a function that must not come back: it jumps to the stage
// that called the library. So no function between the two holds anything with a destructor.
#include <csetjmp>
#include <cstdio>

// In this order: each needs the one before.
#include <jpeglib.h>

#include <jerror.h>

#include <algorithm>
#include <array>

#include "core/base/error.h"
#include "data/image_formats.h"

namespace apotnet {
namespace {

// Encoders write about 10. Each scan walks over the whole image, so a small file could ask for hours.
constexpr int kMostScans = 100;

struct Session {
  jpeg_decompress_struct state{};
  jpeg_error_mgr errors{};
  jpeg_progress_mgr progress{};
  std::jmp_buf stage{};
  char message[JMSG_LENGTH_MAX] = "";

  Session() = default;
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;
  ~Session() { jpeg_destroy_decompress(&state); }
};

[[noreturn]] void leave_stage(j_common_ptr state) {
  Session& session = *static_cast<Session*>(state->client_data);
  state->err->format_message(state, session.message);
  std::longjmp(session.stage, 1);
}

// Warnings come with level -1. Those that mean lost pixels are damage; stray bytes between markers are common and lose
// nothing.
void on_message(j_common_ptr state, int level) {
  if (level >= 0) return;
  switch (state->err->msg_code) {
    case JWRN_JPEG_EOF:
    case JWRN_HIT_MARKER:
    case JWRN_HUFF_BAD_CODE:
    case JWRN_ARITH_BAD_CODE:
    case JWRN_MUST_RESYNC:
      leave_stage(state);
    default:
      break;
  }
}

void on_progress(j_common_ptr state) {
  if (reinterpret_cast<j_decompress_ptr>(state)->input_scan_number <= kMostScans) return;
  Session& session = *static_cast<Session*>(state->client_data);
  std::snprintf(session.message, sizeof session.message, "more than %d scans", kMostScans);
  std::longjmp(session.stage, 1);
}

// The stages return whether the library had no error.
bool read_header(Session& session, std::span<const uint8_t> bytes) {
  jpeg_decompress_struct& state = session.state;
  state.err = jpeg_std_error(&session.errors);
  session.errors.error_exit = leave_stage;
  session.errors.emit_message = on_message;
  session.errors.output_message = [](j_common_ptr) {};
  session.progress.progress_monitor = on_progress;
  state.client_data = &session;
  if (setjmp(session.stage)) return false;
  jpeg_create_decompress(&state);
  state.progress = &session.progress;
  jpeg_mem_src(&state, bytes.data(), static_cast<unsigned long>(bytes.size()));
  jpeg_read_header(&state, TRUE);
  return true;
}

bool start(Session& session) {
  if (setjmp(session.stage)) return false;
  jpeg_decompress_struct& state = session.state;
  state.out_color_space = state.num_components == 4 ? JCS_CMYK : JCS_RGB;
  state.dct_method = JDCT_ISLOW;
  state.do_fancy_upsampling = TRUE;
  jpeg_start_decompress(&state);
  return true;
}

// `row` [out_color_components * width] takes the next row of pixels.
bool read_row(Session& session, uint8_t* row) {
  if (setjmp(session.stage)) return false;
  jpeg_read_scanlines(&session.state, &row, 1);
  return true;
}

// The rows up to `end` into `pixels`, where the rows of the whole image are `row_bytes` apart.
bool read_rows(Session& session, uint8_t* pixels, size_t row_bytes, unsigned end) {
  if (setjmp(session.stage)) return false;
  while (session.state.output_scanline < end) {
    JSAMPROW row = pixels + row_bytes * session.state.output_scanline;
    jpeg_read_scanlines(&session.state, &row, 1);
  }
  return true;
}

// Only columns left to left + width - 1 are made from here on, widened to whole blocks.
bool keep_columns(Session& session, unsigned& left, unsigned& width) {
  if (setjmp(session.stage)) return false;
  jpeg_crop_scanline(&session.state, &left, &width);
  return true;
}

// Rows that are unpacked, for the damage in them, and made no pixels of.
bool skip_rows(Session& session, unsigned end) {
  if (setjmp(session.stage)) return false;
  if (end > session.state.output_scanline) jpeg_skip_scanlines(&session.state, end - session.state.output_scanline);
  return true;
}

// Up to the end marker, so that a file that was cut off is noticed.
bool finish(Session& session) {
  if (setjmp(session.stage)) return false;
  jpeg_finish_decompress(&session.state);
  return true;
}

// Whether what is behind the rows made so far ends as a JPEG does; nothing of it is unpacked. The bytes of the end
// marker stand nowhere else in it.
bool is_whole(Session& session) {
  if (jpeg_input_complete(&session.state) || session.state.unread_marker == JPEG_EOI) return true;
  const std::span rest(session.state.src->next_input_byte, session.state.src->bytes_in_buffer);
  constexpr std::array<uint8_t, 2> kEndMarker{0xFF, JPEG_EOI};
  return !std::ranges::search(rest, kEndMarker).empty();
}

// Files hold the four inks inverted (Adobe's convention): 255 is no ink. As Pillow: black - rounded ink * black / 255.
void cmyk_to_rgb(std::span<const uint8_t> inverted_inks, uint8_t* rgb) {
  for (size_t pixel = 0; 4 * pixel < inverted_inks.size(); ++pixel) {
    const int light = inverted_inks[4 * pixel + 3];
    for (size_t c = 0; c < 3; ++c) {
      const int product = (255 - inverted_inks[4 * pixel + c]) * light + 128;
      rgb[3 * pixel + c] = static_cast<uint8_t>(light - (((product >> 8) + product) >> 8));
    }
  }
}

bool read_cmyk_rows(Session& session, Image& image) {
  const size_t width = static_cast<size_t>(image.width);
  std::vector<uint8_t> row(4 * width);
  for (size_t y = 0; y < static_cast<size_t>(image.height); ++y) {
    if (!read_row(session, row.data())) return false;
    cmyk_to_rgb(row, image.pixels.data() + 3 * width * y);
  }
  return true;
}

}  // namespace

// Smoothing the colours looks at their neighbours, up to two pixels away, and the edge of what is made is smoothed as
// the edge of an image: some more is made.
Box with_margin(const Box& wanted, ImageSize whole) {
  constexpr int kMargin = 4;
  const int top = std::max(0, wanted.top - kMargin), left = std::max(0, wanted.left - kMargin);
  return {top, left, std::min(whole.height, wanted.top + wanted.height + kMargin) - top,
          std::min(whole.width, wanted.left + wanted.width + kMargin) - left};
}

Image decode_jpeg(std::span<const uint8_t> bytes, const std::string& path, const WantedPart& wanted) {
  Session session;
  const auto check = [&](bool done) {
    if (!done) fail(ErrorCategory::damaged_data, path, ": damaged JPEG: ", session.message);
  };
  check(read_header(session, bytes));
  const int components = session.state.num_components;
  check_image_size(path, session.state.image_height, session.state.image_width);
  if (components != 1 && components != 3 && components != 4)
    fail(ErrorCategory::damaged_data, path, ": JPEG of ", components, " colour components; 1, 3 and 4 are known");
  check(start(session));
  Image image = make_image(path, session.state.output_height, session.state.output_width);
  const size_t row_bytes = size_t{3} * static_cast<size_t>(image.width);
  if (components == 4) {
    check(read_cmyk_rows(session, image));
  } else if (!wanted) {
    check(read_rows(session, image.pixels.data(), row_bytes, session.state.output_height));
  } else {
    const ImageSize whole{image.height, image.width};
    const Box made = with_margin(wanted(whole), whole);
    unsigned left = static_cast<unsigned>(made.left), width = static_cast<unsigned>(made.width);
    const unsigned top = static_cast<unsigned>(made.top), end = top + static_cast<unsigned>(made.height);
    if (made.width < whole.width) check(keep_columns(session, left, width));
    check(skip_rows(session, top));
    check(read_rows(session, image.pixels.data() + 3 * size_t{left}, row_bytes, end));
    if (end < session.state.output_height) {
      if (!is_whole(session)) fail(ErrorCategory::damaged_data, path, ": damaged JPEG: cut off");
      return image;
    }
  }
  check(finish(session));
  return image;
}

#define APOTNET_TEXT_OF(x) #x
#define APOTNET_EXPANDED_TEXT_OF(x) APOTNET_TEXT_OF(x)
std::string jpeg_library_version() { return APOTNET_EXPANDED_TEXT_OF(LIBJPEG_TURBO_VERSION); }

}  // namespace apotnet
