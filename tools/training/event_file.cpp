#include "tools/training/event_file.h"

#include <unistd.h>

#include <array>
#include <bit>
#include <chrono>
#include <cmath>

#include "core/base/error.h"
#include "core/io/atomic_file.h"
#include "core/io/crc32c.h"

namespace apotnet {
namespace {

// Field numbers of tensorflow/core/util/event.proto and framework/summary.proto.
enum EventField { kWallTime = 1, kStep = 2, kFileVersion = 3, kSummary = 5, kSessionLog = 7 };
enum SummaryField { kValue = 1 };
enum ValueField { kTag = 1, kSimpleValue = 2, kHistogram = 5 };
enum HistogramField { kMin = 1, kMax, kNumber, kSum, kSumOfSquares, kBucketLimit, kBucket };
constexpr int kSessionStart = 1;

// Protocol buffers: a key of field number and wire type, then the value.
enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

template <typename T>
void put_little_endian(std::string& out, T value) {
  static_assert(std::endian::native == std::endian::little, "event files are little-endian");
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_varint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

void put_key(std::string& out, int field, WireType type) { put_varint(out, static_cast<uint64_t>(field << 3 | type)); }

void put_integer(std::string& out, int field, int64_t value) {
  put_key(out, field, kVarint);
  put_varint(out, static_cast<uint64_t>(value));
}

void put_double(std::string& out, int field, double value) {
  put_key(out, field, kFixed64);
  put_little_endian(out, value);
}

void put_bytes(std::string& out, int field, std::string_view bytes) {
  put_key(out, field, kBytes);
  put_varint(out, bytes.size());
  out += bytes;
}

uint32_t masked_crc(std::string_view bytes) {
  return std::rotr(crc32c(std::as_bytes(std::span(bytes))), 15) + 0xa282ead8u;
}

std::string record_of(std::string_view event) {
  std::string record;
  put_little_endian<uint64_t>(record, event.size());
  put_little_endian(record, masked_crc(record));
  record += event;
  put_little_endian(record, masked_crc(event));
  return record;
}

std::string event_now(int64_t step) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  std::string event;
  put_double(event, kWallTime, std::chrono::duration<double>(now).count());
  put_integer(event, kStep, step);
  return event;
}

std::string new_path(const std::string& folder) {
  std::array<char, 256> host{};
  if (gethostname(host.data(), host.size() - 1) != 0 || host[0] == '\0') host = {'h', 'o', 's', 't'};
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return text(folder, "/events.out.tfevents.", std::chrono::duration_cast<std::chrono::seconds>(now).count(), ".",
              host.data());
}

}  // namespace

void EventSummary::scalar(std::string_view tag, double value) {
  std::string entry;
  put_bytes(entry, kTag, tag);
  put_key(entry, kSimpleValue, kFixed32);
  put_little_endian(entry, static_cast<float>(value));
  put_bytes(bytes_, kValue, entry);
}

void EventSummary::histogram(std::string_view tag, std::span<const double> edges, std::span<const int64_t> counts) {
  require(edges.size() == counts.size() + 1, "a histogram of ", counts.size(), " counts and ", edges.size(), " edges");
  double number = 0, sum = 0, squares = 0;
  std::string limits, buckets;
  for (size_t i = 0; i < counts.size(); ++i) {
    const double middle = (edges[i] + edges[i + 1]) / 2, count = static_cast<double>(counts[i]);
    number += count;
    sum += count * middle;
    squares += count * middle * middle;
    put_little_endian(limits, edges[i + 1]);
    put_little_endian(buckets, count);
  }
  std::string histogram, entry;
  put_double(histogram, kMin, edges.front());
  put_double(histogram, kMax, edges.back());
  put_double(histogram, kNumber, number);
  put_double(histogram, kSum, sum);
  put_double(histogram, kSumOfSquares, squares);
  put_bytes(histogram, kBucketLimit, limits);
  put_bytes(histogram, kBucket, buckets);
  put_bytes(entry, kTag, tag);
  put_bytes(entry, kHistogram, histogram);
  put_bytes(bytes_, kValue, entry);
}

EventFile::EventFile(const std::string& folder, std::optional<int64_t> purge_step) : path_(new_path(folder)) {
  std::string version = event_now(0);
  put_bytes(version, kFileVersion, "brain.Event:2");
  std::string records = record_of(version);
  if (purge_step) {
    std::string log, event = event_now(*purge_step);
    put_integer(log, 1, kSessionStart);
    put_bytes(event, kSessionLog, log);
    records += record_of(event);
  }
  append_to_file(path_, std::as_bytes(std::span(records)));
}

void EventFile::append(int64_t step, const EventSummary& summary) {
  std::string event = event_now(step);
  put_bytes(event, kSummary, summary.bytes());
  const std::string record = record_of(event);
  append_to_file(path_, std::as_bytes(std::span(record)));
}

}  // namespace apotnet
