#include "data/image_folder.h"

#include <algorithm>
#include <set>

#include "data/imagenet.h"
#include "data/loader.h"
#include "data/picture_index.h"
#include "tests/data/picture_files.h"
#include "tests/data/support.h"
#include "tests/support/test_data.h"

using namespace apotnet;
using namespace apotnet::test;
namespace fs = std::filesystem;

namespace {

constexpr PictureGeometry kSmall{.size = 24, .resized = 28};

std::vector<uint8_t> image_of(const Dataset& dataset, int64_t index, Cut cut = Cut::centre, uint32_t epoch = 0) {
  std::vector<uint8_t> pixels(static_cast<size_t>(dataset.image_bytes()));
  dataset.read_cut(index, cut, Philox(7, RandomStream::cut, epoch, static_cast<uint32_t>(index)), pixels);
  return pixels;
}

void cut_off(const fs::path& file) { fs::resize_file(file, fs::file_size(file) / 2); }

}  // namespace

TEST_CASE("picture list: torchvision's order, extensions in any case, other files counted") {
  TemporaryFolder scratch;
  for (const char* name : {"b/2.jpg", "b/1.JPG", "b/10.jpeg", "b/inner/0.png", "b/inner.jpg", "B/x.bmp", "a b/ü.JpEg",
                           "b/notes.txt", "b/.hidden", "loose.jpg"})
    write_file(scratch.path() / name, "");
  const PictureList list = list_pictures(scratch.path());
  CHECK(list.class_names == std::vector<std::string>{"B", "a b", "b"});
  std::vector<std::string> paths;
  for (const auto& picture : list.pictures) paths.push_back(picture.path + " " + std::to_string(picture.label));
  CHECK(paths == std::vector<std::string>{"B/x.bmp 0", "a b/ü.JpEg 1", "b/1.JPG 2", "b/10.jpeg 2", "b/2.jpg 2",
                                          "b/inner.jpg 2", "b/inner/0.png 2"});
  CHECK(list.other_files == 2);
  CHECK(list.first_other == "b/.hidden");
}

TEST_CASE("picture list: no folder, no classes, an empty class and a link in a circle are one line each") {
  TemporaryFolder scratch;
  check_error([&] { list_pictures(scratch.path() / "no"); }, ErrorCategory::input_missing, {"no", "cannot be read"});
  check_error([&] { list_pictures(scratch.path()); }, ErrorCategory::input_missing, {"no class folders"});
  write_file(scratch.path() / "a/1.jpg", "");
  fs::create_directory(scratch.path() / "b");
  check_error([&] { list_pictures(scratch.path()); }, ErrorCategory::input_missing, {"/b: no picture"});
  fs::remove(scratch.path() / "b");
  fs::create_directory_symlink(scratch.path(), scratch.path() / "a/back");
  check_error([&] { list_pictures(scratch.path()); }, ErrorCategory::input_missing, {"does a link lead back?"});
}

TEST_CASE("image folder: evaluation sees the middle of the resized picture, training any part of it") {
  TemporaryFolder scratch;
  write_picture_folders(scratch.path());
  const auto dataset = read_imagenet(scratch.path(), Split::train, {.geometry = kSmall});
  REQUIRE(dataset->size() == 12);
  CHECK(dataset->class_names() == std::vector<std::string>{"class0", "class1", "class2"});
  CHECK(dataset->label(11) == 2);
  CHECK(dataset->height() == 24);
  const Image picture = read_image((scratch.path() / "train/class1/picture2.JPEG").string());
  CHECK(image_of(*dataset, 6) == resize_and_crop(picture, 28, {24, 24}).pixels);

  // Every place of a crop is drawn, and each is that part of the resized picture.
  const ImageSize size = size_with_shorter_side({picture.height, picture.width}, 28);
  std::set<std::pair<int, int>> places;
  for (uint32_t epoch = 0; epoch < 600; ++epoch) {
    const Box box = draw_crop(size, 24, Cut::random_crop, Philox(7, RandomStream::cut, epoch, 6));
    places.emplace(box.top, box.left);
    if (epoch < 20) CHECK(image_of(*dataset, 6, Cut::random_crop, epoch) == resize_bilinear(picture, size, box).pixels);
  }
  CHECK(places.size() == static_cast<size_t>((size.height - 24 + 1) * (size.width - 24 + 1)));
}

TEST_CASE("random_resized_crop: areas and ratios keep their bounds, long pictures fall back to the middle") {
  double least = 1, most = 0;
  for (uint32_t i = 0; i < 2000; ++i) {
    const Box box = draw_resized_crop({300, 400}, Philox(1, RandomStream::cut, i));
    const double area = box.height * box.width / 120000.0, ratio = double(box.width) / box.height;
    REQUIRE((area > 0.075 && area <= 1));
    REQUIRE((ratio > 0.74 && ratio < 1.35));
    REQUIRE((box.top >= 0 && box.left >= 0 && box.top + box.height <= 300 && box.left + box.width <= 400));
    least = std::min(least, area), most = std::max(most, area);
  }
  CHECK(least < 0.1);
  CHECK(most > 0.9);
  const Box wide = draw_resized_crop({3, 1000}, Philox(1, RandomStream::cut));
  CHECK((wide.height == 3 && wide.width == 4 && wide.left == 498));
  const Box tall = draw_resized_crop({1000, 3}, Philox(1, RandomStream::cut));
  CHECK((tall.width == 3 && tall.height == 4 && tall.top == 498));
}

TEST_CASE("image folder: a damaged picture is an error, or its class's next one stands for it whoever reads first") {
  TemporaryFolder scratch;
  write_picture_folders(scratch.path());
  cut_off(scratch.path() / "train/class1/picture2.JPEG");
  cut_off(scratch.path() / "train/class1/picture3.JPEG");
  write_file(scratch.path() / "train/class0/thumbs.db", "x");
  const auto strict = read_imagenet(scratch.path(), Split::train, {.geometry = kSmall});
  check_error([&] { image_of(*strict, 6); }, ErrorCategory::damaged_data, {"class1/picture2.JPEG", "damaged JPEG"});
  CHECK(image_of(*strict, 5).size() == 24 * 24 * 3);
  check_error([&] { read_imagenet(scratch.path(), Split::train, {.geometry = kSmall, .refuse_other_files = true}); },
              ErrorCategory::damaged_data, {"class0/thumbs.db", "data.other_files"});

  for (const bool backwards : {false, true}) {
    const auto lenient = read_imagenet(scratch.path(), Split::train, {.geometry = kSmall, .replace_damaged = true});
    CHECK(lenient->remark().find("left out 1 files") != std::string::npos);
    std::vector<std::vector<uint8_t>> images(12);
    for (int64_t i = 0; i < 12; ++i) {
      const int64_t index = backwards ? 11 - i : i;
      images[static_cast<size_t>(index)] = image_of(*lenient, index);
    }
    CHECK(images[6] == images[5]);  // nothing good comes after it
    CHECK(images[7] == images[5]);
    CHECK(lenient->remark().find("2 pictures are damaged and replaced") != std::string::npos);
    CHECK(lenient->remark().find("picture2.JPEG") != std::string::npos);
  }
  for (const char* name : {"picture0", "picture1"})
    cut_off(scratch.path() / "train/class1" / (std::string(name) + ".JPEG"));
  const auto hopeless = read_imagenet(scratch.path(), Split::train, {.geometry = kSmall, .replace_damaged = true});
  check_error([&] { image_of(*hopeless, 6); }, ErrorCategory::damaged_data, {"picture2.JPEG"});
}

TEST_CASE("loader: batches of pictures have the same bits for any number of workers and any starting point") {
  TemporaryFolder scratch;
  write_picture_folders(scratch.path());
  const auto dataset = read_imagenet(scratch.path(), Split::train, {.geometry = kSmall});
  LoaderOptions options{
      .batch = 5, .shuffle = true, .augmentation = {.flip = true, .cut = Cut::random_crop}, .seed = 3};
  std::vector<std::vector<float>> wanted;
  for (const int workers : {0, 1, 3})
    for (const int64_t start : {0, 2}) {
      options.workers = workers;
      Loader loader(dataset, options, {.epoch = 1, .batch = start});
      size_t number = static_cast<size_t>(start);
      for (; const auto batch = loader.next(); ++number) {
        const auto values = batch->images.data<float>();
        if (wanted.size() <= number) wanted.emplace_back(values.begin(), values.end());
        CHECK(std::ranges::equal(values, wanted[number]));
      }
      CHECK(number == 3);
    }
  CHECK(wanted[0] != wanted[1]);
  options.content = BatchContent::pixels;
  Loader loader(dataset, options, {.epoch = 1});
  for (const std::vector<float>& values : wanted)
    CHECK(std::ranges::equal(values, images_from(*loader.next(), *dataset, 0).data<float>()));
}

TEST_CASE("imagenet: what is missing is named, and random cuts are refused where images have one size") {
  TemporaryFolder scratch;
  check_error([&] { read_imagenet(scratch.path(), Split::test, {}); }, ErrorCategory::input_missing,
              {"no val in", "imagenet:DIR"});
  write_picture_folders(scratch.path() / "imagenet", 2, 1);
  CHECK(holds_imagenet(scratch.path()));
  CHECK(read_imagenet(scratch.path(), Split::test, {.geometry = kSmall})->size() == 2);
  check_error([&] { read_imagenet(scratch.path(), Split::test, {.geometry = {.size = 300, .resized = 256}}); },
              ErrorCategory::configuration, {"data.image_size"});
  CHECK(imagenet_info().class_names.size() == 1000);
  CHECK(imagenet_info().class_names[0] == "tench");
  CHECK(imagenet_info().class_names[999] == "toilet tissue");
}

TEST_CASE("picture index: the images of the folder, bit for bit") {
  TemporaryFolder scratch;
  write_picture_folders(scratch.path());
  const auto files = read_imagenet(scratch.path(), Split::train, {.geometry = kSmall});
  const PictureSplit split = imagenet_split(scratch.path(), Split::train);
  std::vector<int64_t> progress;
  write_picture_index(split.cache, PictureFolder(split.folder, {}), kSmall.resized,
                      [&](int64_t done) { progress.push_back(done); });
  CHECK(progress == std::vector<int64_t>{12});
  const auto cached = read_imagenet(scratch.path(), Split::train, {.geometry = kSmall});
  REQUIRE(cached->size() == files->size());
  CHECK(cached->class_names() == files->class_names());
  for (int64_t i = 0; i < files->size(); ++i) {
    CHECK(cached->label(i) == files->label(i));
    for (const Cut cut : {Cut::centre, Cut::random_crop}) CHECK(image_of(*cached, i, cut) == image_of(*files, i, cut));
  }
  check_error([&] { image_of(*cached, 0, Cut::random_resized_crop); }, ErrorCategory::configuration, {"random_crop"});
  check_error([&] { read_imagenet(scratch.path(), Split::train, {}); }, ErrorCategory::configuration,
              {"resized to 28", "data index"});
}

TEST_CASE("picture index: a picture that is too long when resized is named before it is made") {
  TemporaryFolder scratch;
  write_picture(scratch.path() / "a" / "long.JPEG", 1, 4000, 1);
  const auto file = scratch.path() / "train.pictures";
  check_error([&] { write_picture_index(file, PictureFolder(scratch.path(), {}), 28, {}); },
              ErrorCategory::damaged_data, {"picture 0 is 112000 x 28 pixels when resized; at most 65535 fit"});
  CHECK(std::filesystem::directory_iterator(scratch.path())->path().filename() == "a");  // and nothing else
}

TEST_CASE("picture index: cut off anywhere or with any byte changed it is damaged, and nothing is believed") {
  TemporaryFolder scratch;
  write_picture_folders(scratch.path(), 2, 1);
  const fs::path file = scratch.path() / "x.pictures";
  write_picture_index(file, PictureFolder(scratch.path() / "train", {}), kSmall.resized);
  const std::string whole = read_text(file.string());
  const auto read_all = [&] {
    const auto dataset = open_picture_index(file, imagenet_info(), kSmall);
    for (int64_t i = 0; i < dataset->size(); ++i) image_of(*dataset, i);
  };
  CHECK_NOTHROW(read_all());
  for (size_t size = 0; size < whole.size(); size += size < 200 ? 1 : 97) {
    CAPTURE(size);
    write_text(file.string(), whole.substr(0, size));
    check_error(read_all, ErrorCategory::damaged_data, {"x.pictures"});
  }
  for (size_t at = 0; at < whole.size(); at += at < 200 ? 1 : 97) {
    if (at >= 44 && at < 48) continue;  // not used
    CAPTURE(at);
    std::string changed = whole;
    changed[at] = static_cast<char>(changed[at] ^ 0x40);
    write_text(file.string(), changed);
    const auto error = error_of(read_all);
    REQUIRE(error);
    // A changed side reads as a file of another side.
    CHECK((error->category() == ErrorCategory::damaged_data || (at >= 8 && at < 16)));
  }
}
