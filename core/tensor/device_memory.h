#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

namespace apotnet {

/// Where a block of device memory goes back to.
class BlockOwner {
 public:
  virtual ~BlockOwner() = default;
  virtual void release(std::byte* data, size_t bytes) noexcept = 0;
};

struct DeviceBlock {
  std::byte* data = nullptr;
  std::shared_ptr<BlockOwner> owner;
};

/// What tensors need of a device besides the CPU. Everything happens in the order of the calls and of the kernels
/// between them; only copy_out() waits until it has happened.
class DeviceMemory {
 public:
  virtual ~DeviceMemory() = default;

  /// Aligned to 256 bytes; contents are undefined.
  virtual DeviceBlock allocate(size_t bytes) = 0;
  /// Host to device; `from` may be changed afterwards.
  virtual void copy_in(std::span<const std::byte> from, std::byte* to) = 0;
  /// Device to host.
  virtual void copy_out(const std::byte* from, std::span<std::byte> to) = 0;
  virtual void copy(const std::byte* from, std::byte* to, size_t bytes) = 0;
  /// `count` elements of `width` bytes (1, 2, 4 or 8), each the low bytes of `pattern`.
  virtual void fill(std::byte* to, uint64_t pattern, size_t width, size_t count) = 0;
};

/// The back end of the device gives its memory here; null takes it away.
void use_device_memory(DeviceMemory* memory);
/// Error(unavailable) where no device is in use.
DeviceMemory& device_memory();

}  // namespace apotnet
