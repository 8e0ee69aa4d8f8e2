#pragma once

#include <cstddef>
#include <memory>

#include "core/tensor/device.h"
#include "core/tensor/device_memory.h"

namespace apotnet {

/// Memory of one tensor, aligned to 64 bytes. Freed blocks are kept and handed out again for the same size, so that
/// from its second step on training neither calls malloc nor takes page faults.
class Buffer {
 public:
  /// Contents are undefined (NaN patterns in debug builds).
  static std::shared_ptr<Buffer> allocate(size_t bytes, Device device);
  ~Buffer();
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  std::byte* data() { return data_; }
  size_t bytes() const { return bytes_; }
  /// Handles that only watch (Tensor::Watch).
  long& watchers() { return watchers_; }

 private:
  Buffer(std::byte* data, size_t bytes, size_t capacity) : data_(data), bytes_(bytes), capacity_(capacity) {}

  std::byte* data_;
  size_t bytes_, capacity_;
  long watchers_ = 0;
  std::shared_ptr<BlockOwner> owner_;  // of device memory
};

}  // namespace apotnet
