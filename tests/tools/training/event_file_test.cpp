#include "tools/training/event_file.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <map>

#include "core/io/crc32c.h"
#include "tests/support/files.h"
#include "tools/training/progress.h"

using namespace apotnet;
using test::TemporaryFolder;

namespace {

uint64_t little_endian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = bytes.size(); i-- > 0;) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

uint64_t take_varint(std::string_view& bytes) {
  uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<uint8_t>(bytes.at(0));
    bytes.remove_prefix(1);
    value |= uint64_t{byte & 0x7fu} << shift;
    if (byte < 0x80) return value;
  }
}

// A message's fields in order: number, and the bytes of the value.
std::vector<std::pair<int, std::string>> fields_of(std::string_view bytes) {
  std::vector<std::pair<int, std::string>> fields;
  while (!bytes.empty()) {
    const uint64_t key = take_varint(bytes);
    std::string value;
    if (const auto type = key & 7; type == 0) {
      value = std::to_string(take_varint(bytes));
    } else {
      const size_t size = type == 1 ? 8 : type == 5 ? 4 : take_varint(bytes);
      value = bytes.substr(0, size);
      bytes.remove_prefix(size);
    }
    fields.emplace_back(static_cast<int>(key >> 3), value);
  }
  return fields;
}

uint32_t unmasked(uint64_t masked) { return std::rotl(static_cast<uint32_t>(masked) - 0xa282ead8u, 15); }
uint32_t crc(std::string_view bytes) { return crc32c(std::as_bytes(std::span(bytes))); }

// The events of a file; every length and checksum is checked.
std::vector<std::map<int, std::string>> events_of(const std::string& path) {
  const std::string file = test::read_text(path);
  std::string_view rest = file;
  std::vector<std::map<int, std::string>> events;
  while (!rest.empty()) {
    REQUIRE(rest.size() >= 16);
    const size_t size = little_endian(rest.substr(0, 8));
    CHECK(unmasked(little_endian(rest.substr(8, 4))) == crc(rest.substr(0, 8)));
    REQUIRE(rest.size() >= size + 16);
    CHECK(unmasked(little_endian(rest.substr(12 + size, 4))) == crc(rest.substr(12, size)));
    auto& event = events.emplace_back();
    for (const auto& [number, value] : fields_of(rest.substr(12, size))) event[number] = value;
    rest.remove_prefix(size + 16);
  }
  return events;
}

}  // namespace

TEST_CASE("event file: framed records that hold the scalars and histograms") {
  const TemporaryFolder folder;
  EventFile file(folder / ".", 7);
  EventSummary summary;
  summary.scalar("loss/train", 0.25);
  const std::vector<double> edges{-0.5, 0.5, 1.5};
  const std::vector<int64_t> counts{3, 300};
  summary.histogram("levels/x", edges, counts);
  file.append(300, summary);
  CHECK(file.path().find("/events.out.tfevents.") != std::string::npos);
  const auto events = events_of(file.path());
  REQUIRE(events.size() == 3);
  CHECK(events[0].at(3) == "brain.Event:2");
  CHECK(events[1].at(2) == "7");
  CHECK(events[1].at(7) == std::string("\x08\x01"));  // SessionLog {status: START}
  CHECK(events[2].at(2) == "300");
  const auto values = fields_of(events[2].at(5));
  REQUIRE(values.size() == 2);
  const auto scalar = fields_of(values[0].second);
  CHECK(scalar[0].second == "loss/train");
  CHECK(std::bit_cast<float>(static_cast<uint32_t>(little_endian(scalar[1].second))) == 0.25f);
  const auto levels = fields_of(values[1].second);
  CHECK(levels[0].second == "levels/x");
  std::map<int, std::string> histogram;
  for (const auto& [number, value] : fields_of(levels[1].second)) histogram[number] = value;
  const auto real = [](std::string_view bytes) { return std::bit_cast<double>(little_endian(bytes)); };
  CHECK(real(histogram.at(1)) == -0.5);
  CHECK(real(histogram.at(2)) == 1.5);
  CHECK(real(histogram.at(3)) == 303);
  CHECK(real(histogram.at(4)) == 300);
  CHECK(real(std::string_view(histogram.at(6)).substr(8)) == 1.5);
  CHECK(real(std::string_view(histogram.at(7)).substr(8)) == 300);
}

TEST_CASE("progress: what does not fit a terminal is left away, and nothing is wider than it") {
  ProgressState state{.label = "4bit epoch 3/30", .images = 300, .images_per_epoch = 1000, .images_per_second = 751.4};
  state.loss = 0.45678;
  state.top1 = 84.321;
  state.seconds_left = 64.4;
  state.all_seconds = 3723;
  const Terminal wide{.interactive = true, .color = false, .columns = 200};
  CHECK(progress_bar(state, wide) ==
        "4bit epoch 3/30 #######.................  30 %  loss 0.457  top-1 84.32 %  left 1:04  all 1:02:03  "
        "751 images/s");
  for (int columns = 1; columns < 130; ++columns)
    CHECK(progress_bar(state, {.interactive = true, .color = false, .columns = columns}).size() <
          static_cast<size_t>(std::max(columns, 2)));
  CHECK(progress_bar(state, {.interactive = true, .color = true, .columns = 100}).find("\033[2m.") !=
        std::string::npos);
  CHECK(progress_line(state) ==
        "4bit epoch 3/30: 300/1000 images, 751 images/s, loss 0.4568, top-1 84.32 %, left 1:04, all stages 1:02:03");
  const ProgressState start{.label = "a", .images = 0, .images_per_epoch = 10};
  CHECK(progress_line(start) == "a: 0/10 images, - images/s, loss 0.0000, top-1 0.00 %, left -:--, all stages -:--");
}

TEST_CASE("progress: lines before there is a log come into it, each with its time") {
  const TemporaryFolder folder;
  Progress progress(true, {});
  progress.line("first");
  progress.log_to(folder / "train.log");
  progress.line("second");
  progress.log("third");
  const std::string log = test::read_text(folder / "train.log");
  CHECK(std::ranges::count(log, '\n') == 3);
  CHECK(log.find("Z first\n") == 20 - 1);
  CHECK(log.ends_with("Z third\n"));
}

TEST_CASE("durations") {
  CHECK(duration(7.4) == "0:07");
  CHECK(duration(754) == "12:34");
  CHECK(duration(3723) == "1:02:03");
  CHECK(duration(-1) == "-:--");
  CHECK(duration(1e300) == "-:--");
}
