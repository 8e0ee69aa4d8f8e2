// Decoders and resizing against Pillow: recorded in tests/golden/images, and run beside us where it is installed.
#include "data/image.h"

#include <doctest/doctest.h>
#include <zlib.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "core/base/philox.h"
#include "data/resize.h"
#include "tests/data/jpeg_writer.h"
#include "tests/data/support.h"
#include "tests/support/allocation_record.h"
#include "tests/support/damage.h"
#include "tests/support/test_data.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

uint32_t checksum(const Image& image) {
  return static_cast<uint32_t>(::crc32(0, image.pixels.data(), static_cast<uInt>(image.pixels.size())));
}

/// Compares with the images.json that make_image_fixtures.py wrote; returns how many files it names.
size_t check_against_pillow(const std::filesystem::path& folder) {
  const auto rows = nlohmann::json::parse(read_text((folder / "images.json").string()));
  for (const auto& row : rows) {
    const std::string file = row["file"];
    CAPTURE(file);
    const Image image = read_image((folder / file).string());
    CHECK(image.height == row["height"]);
    CHECK(image.width == row["width"]);
    CHECK(checksum(image) == row["pixels"]);
    const Image cropped = resize_and_crop(image, row["side"], {row["crop"], row["crop"]});
    CHECK(checksum(cropped) == row["cropped"]);
  }
  return rows.size();
}

std::filesystem::path golden_images() { return golden_folder() / "images"; }
std::string golden_image(const std::string& name) { return read_text((golden_images() / name).string()); }

Image decode(const std::string& content) { return decode_image(to_bytes(content), "some.file"); }

/// For the helpers of damage.h, which know readers of tensors.
TensorFile decode_only(std::span<const std::byte> bytes, const std::string& path) {
  decode_image(bytes, path);
  return {};
}

TensorFile decode_middle(std::span<const std::byte> bytes, const std::string& path) {
  decode_image(bytes, path, [](ImageSize whole) { return centre_box(whole, {whole.height / 2, whole.width / 2}); });
  return {};
}

std::vector<uint8_t> random_bytes(size_t count) {
  Philox random(5, RandomStream::test);
  std::vector<uint8_t> bytes(count);
  for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random.next_u32());
  return bytes;
}

std::string with_byte(std::string content, size_t at, int value) {
  content.at(at) = static_cast<char>(value);
  return content;
}

/// The header of a JPEG with another size: SOF0 is marker, length, precision, height, width.
std::string with_jpeg_size(std::string content, int height, int width) {
  const size_t at = content.find("\xFF\xC0") + 5;
  const int bytes[] = {height >> 8, height & 255, width >> 8, width & 255};
  for (size_t i = 0; i < 4; ++i) content.at(at + i) = static_cast<char>(bytes[i]);
  return content;
}

/// The header chunk of a PNG with another width, its checksum corrected.
std::string with_png_width(std::string content, uint32_t width) {
  const auto store = [&](size_t at, uint32_t value) {
    for (size_t i = 0; i < 4; ++i) content.at(at + i) = static_cast<char>(value >> (24 - 8 * i));
  };
  store(16, width);
  store(29, static_cast<uint32_t>(::crc32(0, reinterpret_cast<const Bytef*>(content.data()) + 12, 17)));
  return content;
}

}  // namespace

TEST_CASE("images: pixels and crops are those that Pillow gave, bit for bit") {
  CHECK(check_against_pillow(golden_images()) == 22);
}

TEST_CASE("images: Pillow beside us gives the same pixels, on drawn images and on photographs") {
  if (std::system("python3 -c 'import PIL, numpy' 2>/dev/null") != 0) {
    std::printf("skipped: no Pillow\n");
    return;
  }
  std::string photographs;
  if (const auto folder = data_path("imagenet-sample"); !folder.empty())
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder))
      if (entry.is_regular_file()) photographs += " " + entry.path().string();
  const TemporaryFolder folder;
  const std::string script = "python3 " + (golden_folder() / "make_image_fixtures.py").string() + " " + folder.string();
  REQUIRE(std::system((script + " 7" + photographs).c_str()) == 0);
  std::printf("%zu images\n", check_against_pillow(folder.path()));
}

TEST_CASE("images: a CMYK JPEG stored as luminance and colour differences is the one stored as inks") {
  constexpr int kHeight = 19, kWidth = 23;
  std::vector<uint8_t> inks(size_t{kHeight} * kWidth * 4);
  for (size_t i = 0; i < inks.size(); ++i) inks[i] = static_cast<uint8_t>(120 + 40 * (i % 4) + i / 9 % 40);
  const Image plain = decode(write_jpeg(inks, kHeight, kWidth, JCS_CMYK));
  const Image ycck = decode(write_jpeg(inks, kHeight, kWidth, JCS_CMYK, [](jpeg_compress_struct& state) {
    jpeg_set_colorspace(&state, JCS_YCCK);
    state.comp_info[0].h_samp_factor = state.comp_info[0].v_samp_factor = 1;
    state.comp_info[3].h_samp_factor = state.comp_info[3].v_samp_factor = 1;
  }));
  REQUIRE(ycck.pixels.size() == plain.pixels.size());
  std::set<int> values;
  for (size_t i = 0; i < plain.pixels.size(); ++i) {
    CHECK(std::abs(plain.pixels[i] - ycck.pixels[i]) <= 6);
    values.insert(plain.pixels[i]);
  }
  CHECK(values.size() > 40);
}

TEST_CASE("images: stray bytes before and after the end marker of a JPEG are passed over") {
  // Some cameras leave bytes between the last row and the end marker: nothing is lost.
  std::string stray = golden_image("420.jpg");
  const Image clean = decode(stray);
  stray.insert(stray.size() - 2, "\x12\x34");
  CHECK(decode(stray).pixels == clean.pixels);
  // What follows the end marker is not ours.
  CHECK(decode(golden_image("420.jpg") + "more").pixels == clean.pixels);
}

TEST_CASE("images: damage and excess are refused in one line, before memory is taken") {
  const std::string jpeg = golden_image("420.jpg"), png = golden_image("rgb.png"), bmp = golden_image("rgb.bmp");
  const std::string two = write_jpeg(random_bytes(8 * 8 * 2), 8, 8, JCS_UNKNOWN);
  const std::string endless = write_jpeg(random_bytes(16 * 16), 16, 16, JCS_GRAYSCALE, [](jpeg_compress_struct& state) {
    // One scan for each of the 64 coefficients, and again for their last bits.
    static jpeg_scan_info scans[128];
    for (int i = 0; i < 128; ++i) scans[i] = {1, {0}, i % 64, i % 64, i < 64 ? 0 : 1, i < 64 ? 1 : 0};
    state.scan_info = scans;
    state.num_scans = 128;
  });
  check_damages(decode_only, {
                                 {"empty", "", "is empty"},
                                 {"text", "not an image", "is not a JPEG, PNG or BMP image; it begins with \"not an"},
                                 {"gif", "GIF89a\x01", "GIF89a\\x01"},
                                 {"large JPEG", with_jpeg_size(jpeg, 60000, 60000), "60000 x 60000"},
                                 {"many pixels", with_jpeg_size(jpeg, 9000, 9000), "9000 x 9000"},
                                 {"flat JPEG", with_jpeg_size(jpeg, 30, 0), "damaged JPEG"},
                                 {"components", two, "of 2 colour components"},
                                 {"scans", endless, "more than 100 scans"},
                                 {"JPEG marker", with_byte(jpeg, 3, 0xC0), "damaged JPEG"},
                                 {"large PNG", with_png_width(png, 70000), "70000 x"},
                                 {"empty PNG", with_png_width(png, 0), "0 x"},
                                 {"wider PNG", with_png_width(png, 16000), "damaged PNG"},
                                 {"PNG checksum", with_byte(png, 60, 7), "wrong checksum"},
                                 {"PNG chunk", with_byte(png, 33, 0x7F), "cut off in the chunk \"IDAT\""},
                                 {"PNG header", with_byte(png, 12, 'X'), "wrong checksum"},
                                 {"large BMP", with_byte(bmp, 20, 1), "pixels; 1 to 16384"},
                                 {"wider BMP", with_byte(bmp, 19, 1), "cut off, has"},
                                 {"BMP rows", with_byte(bmp, 30, 1), "compression 1"},
                                 {"BMP short", bmp.substr(0, 20), "cut off in the header"},
                             });
}

TEST_CASE("images: what is wanted of a JPEG has the pixels of the whole") {
  Philox random(12, RandomStream::test);
  const auto box_in = [&](int height, int width) {
    const int top = static_cast<int>(random.below(static_cast<uint32_t>(height)));
    const int left = static_cast<int>(random.below(static_cast<uint32_t>(width)));
    return Box{top, left, 1 + static_cast<int>(random.below(static_cast<uint32_t>(height - top))),
               1 + static_cast<int>(random.below(static_cast<uint32_t>(width - left)))};
  };
  for (const auto& [across, down] : {std::pair{1, 1}, {2, 1}, {2, 2}, {1, 2}, {4, 1}, {4, 2}})
    for (const bool progressive : {false, true})
      for (const auto& [height, width] : {std::pair{200, 301}, {157, 96}, {64, 400}}) {
        CAPTURE(across);
        CAPTURE(down);
        CAPTURE(progressive);
        const auto colours = random_bytes(static_cast<size_t>(height * width * 3));
        const std::string file = write_jpeg(colours, height, width, JCS_RGB, [&](jpeg_compress_struct& state) {
          state.comp_info[0].h_samp_factor = across;
          state.comp_info[0].v_samp_factor = down;
          if (progressive)
            jpeg_simple_progression(&state);
          else
            state.restart_interval = 7;
        });
        const Image whole = decode(file);
        for (int i = 0; i < 12; ++i) {
          const Box box = box_in(height, width);
          const Image part = decode_image(to_bytes(file), "x", [&](ImageSize size) {
            CHECK((size.height == height && size.width == width));
            return box;
          });
          REQUIRE(part.pixels.size() == whole.pixels.size());
          bool same = true;
          for (int y = box.top; y < box.top + box.height; ++y) {
            const ptrdiff_t at = (ptrdiff_t{y} * width + box.left) * 3;
            same = same && std::equal(whole.pixels.begin() + at, whole.pixels.begin() + at + 3 * box.width,
                                      part.pixels.begin() + at);
          }
          REQUIRE(same);
        }
      }
}

TEST_CASE("images: every cut is refused, and random damage never crashes") {
  for (const char* name : {"420.jpg", "progressive.jpg", "cmyk.jpg", "restarts.jpg", "grey.jpg", "rgb.png",
                           "palette.png", "rgb.bmp", "palette.bmp", "bits.bmp"}) {
    CAPTURE(name);
    const std::string content = golden_image(name);
    check_truncations(decode_only, content);
    check_truncations(decode_middle, content);
    Philox random(9, RandomStream::test);
    int refused = 0;
    for (int i = 0; i < 300; ++i) {
      std::string mutated = content;
      for (uint32_t hits = 1 + random.below(3); hits > 0; --hits)
        mutated[random.below(static_cast<uint32_t>(mutated.size()))] = static_cast<char>(random.next_u32());
      const std::optional<Error> error = error_of([&] { decode(mutated); });
      if (error) CHECK(error->category() == ErrorCategory::damaged_data);
      refused += error.has_value();
    }
    CHECK(refused > 0);
  }
}

TEST_CASE("images: a missing file and one that is too large have their errors") {
  const TemporaryFolder folder;
  check_error([&] { read_image(folder / "none.jpg"); }, ErrorCategory::input_missing, {"none.jpg"});
  check_error([&] { read_image(folder.string()); }, ErrorCategory::damaged_data, {"is a folder"});
  write_text(folder / "huge.jpg", "\xFF\xD8\xFF");
  std::filesystem::resize_file(folder / "huge.jpg", kMostImageBytes + 1);  // a hole: takes no room on the disk
  check_error([&] { read_image(folder / "huge.jpg"); }, ErrorCategory::damaged_data, {"268435457 bytes"});
}

TEST_CASE("images: several threads decode at once") {
  const std::vector<std::string> names{"rgb.png", "bits.png", "420.jpg", "rgb.bmp"};
  std::vector<Image> alone;
  for (const std::string& name : names) alone.push_back(decode(golden_image(name)));
  std::vector<int> equal(4);
  std::vector<std::thread> threads;
  for (size_t t = 0; t < equal.size(); ++t)
    threads.emplace_back([&, t] {
      for (size_t i = 0; i < 40; ++i) {
        const size_t which = (i + t) % names.size();
        equal[t] += decode(golden_image(names[which])).pixels == alone[which].pixels;
        error_of([&] { decode("\x89PNG\r\n\x1A\n"); });
      }
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(equal == std::vector<int>(4, 40));
}
