#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace apotnet {

/// One step of a TensorBoard summary: scalars and histograms under their tags.
class EventSummary {
 public:
  void scalar(std::string_view tag, double value);
  /// `counts[i]` values that lie between `edges[i]` and `edges[i + 1]`; one edge more than counts, ascending.
  void histogram(std::string_view tag, std::span<const double> edges, std::span<const int64_t> counts);
  bool empty() const { return bytes_.empty(); }
  /// As a protocol buffer of type tensorflow.Summary.
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

/// A file for TensorBoard, FOLDER/events.out.tfevents.TIME.HOST: records of tensorflow.Event, each framed by its length
/// and two masked CRC-32C. All functions: Error(cannot_write).
class EventFile {
 public:
  /// Begins a new file. With `purge_step` a reader forgets what older files of the folder say of this step and later
  /// ones: the run was resumed before it.
  EventFile(const std::string& folder, std::optional<int64_t> purge_step = {});
  /// Flushed to the disk before it returns.
  void append(int64_t step, const EventSummary& summary);
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

}  // namespace apotnet
