#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "core/tensor/device_memory.h"

namespace apotnet::cuda {

/// Error(internal), or Error(unavailable) where the device or its memory is not to be had, unless `error` is success.
void check(cudaError_t error, const char* what);

/// One order of work on the device.
class Stream {
 public:
  Stream();
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  cudaStream_t get() const { return stream_; }
  void synchronize() const { check(cudaStreamSynchronize(stream_), "waiting for a stream"); }

 private:
  cudaStream_t stream_ = nullptr;
};

/// A point in a stream that the host or another stream can wait for.
class Event {
 public:
  Event();
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(const Stream& stream) { check(cudaEventRecord(event_, stream.get()), "recording an event"); }
  /// Later work of `stream` waits for what was recorded.
  void hold(const Stream& stream) const { check(cudaStreamWaitEvent(stream.get(), event_, 0), "waiting for an event"); }
  void synchronize() const { check(cudaEventSynchronize(event_), "waiting for an event"); }
  /// The same for destructors, whatever has gone wrong.
  void wait() const noexcept { cudaEventSynchronize(event_); }

 private:
  cudaEvent_t event_ = nullptr;
};

/// Host memory that the device reads and writes by itself, so that copies do not stop the host.
template <typename T>
class Pinned {
 public:
  explicit Pinned(size_t count) : count_(count) {
    void* place = nullptr;
    check(cudaMallocHost(&place, count * sizeof(T)), "allocating pinned memory");
    data_ = static_cast<T*>(place);
  }
  ~Pinned() { cudaFreeHost(data_); }
  Pinned(const Pinned&) = delete;
  Pinned& operator=(const Pinned&) = delete;

  T* data() { return data_; }
  size_t size() const { return count_; }
  T& operator[](size_t i) { return data_[i]; }

 private:
  T* data_ = nullptr;
  size_t count_;
};

/// Device memory whose freed blocks are handed out again for the same number of bytes: a training step finds all of its
/// blocks from the second time on, at the same addresses, which a captured step needs. All users share one stream, so
/// a block may be taken while its last kernel still waits there.
class Pool : public BlockOwner, public std::enable_shared_from_this<Pool> {
 public:
  Pool() = default;
  ~Pool() override;
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  /// Before there is no memory left, what lies unused here and in `other` is given back to the device.
  DeviceBlock allocate(size_t bytes, Pool* other = nullptr);
  void release(std::byte* data, size_t bytes) noexcept override;
  /// Bytes taken from the device, used or not.
  size_t reserved() const { return reserved_; }
  /// How often memory was taken from the device, and how often it gave some back for want of more.
  size_t taken() const { return taken_; }
  size_t shortages() const { return shortages_; }
  /// Gives back to the device what nobody uses now.
  void trim();

 private:
  std::map<size_t, std::vector<std::byte*>> free_;
  size_t reserved_ = 0, taken_ = 0, shortages_ = 0;
};

/// Work that was captured from a stream and runs again as a whole.
class Graph {
 public:
  Graph() = default;
  ~Graph() { reset(); }
  Graph(Graph&& other) noexcept : executable_(std::exchange(other.executable_, nullptr)), nodes_(other.nodes_) {}
  Graph& operator=(Graph&& other) noexcept;

  /// Captures what `work` puts on the stream; nothing of it runs yet.
  template <typename Work>
  static Graph capture(const Stream& stream, Work&& work) {
    check(cudaStreamBeginCapture(stream.get(), cudaStreamCaptureModeThreadLocal), "beginning a capture");
    try {
      work();
    } catch (...) {
      abandon(stream);
      throw;
    }
    return finish(stream);
  }
  void launch(const Stream& stream) const { check(cudaGraphLaunch(executable_, stream.get()), "launching a graph"); }
  size_t nodes() const { return nodes_; }

 private:
  static void abandon(const Stream& stream);
  static Graph finish(const Stream& stream);
  void reset();

  cudaGraphExec_t executable_ = nullptr;
  size_t nodes_ = 0;
};

}  // namespace apotnet::cuda
