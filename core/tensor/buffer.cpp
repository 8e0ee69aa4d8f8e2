#include "core/tensor/buffer.h"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <bit>
#include <cstring>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

#include "core/base/error.h"

namespace apotnet {
namespace {

// Large blocks begin on a huge page and ask for them: passes over activations then miss the TLB far less often.
constexpr size_t kHugePage = size_t{2} << 20;

std::align_val_t alignment_for(size_t capacity) { return std::align_val_t{capacity >= kHugePage ? kHugePage : 64}; }

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kKeepBlocks = false;  // so that a use after free is seen
#else
constexpr bool kKeepBlocks = true;
#endif

struct KeptBlocks {
  std::mutex mutex;
  std::unordered_map<size_t, std::vector<std::byte*>> by_capacity;
};

KeptBlocks& kept_blocks() {
  static KeptBlocks* blocks = new KeptBlocks;  // outlives every static tensor
  return *blocks;
}

// Rounded up to an eighth of its power of two: few distinct capacities, at most 12.5 % waste.
size_t capacity_for(size_t bytes) {
  const size_t unit = std::max<size_t>(64, std::bit_floor(std::max<size_t>(bytes, 1)) / 8);
  return std::max<size_t>(64, (bytes + unit - 1) / unit * unit);
}

DeviceMemory* memory_in_use = nullptr;

}  // namespace

void use_device_memory(DeviceMemory* memory) { memory_in_use = memory; }

DeviceMemory& device_memory() {
  if (!memory_in_use) fail(ErrorCategory::unavailable, "no CUDA device is in use; use --device cpu");
  return *memory_in_use;
}

std::shared_ptr<Buffer> Buffer::allocate(size_t bytes, Device device) {
  if (device.type != DeviceType::cpu) {
    DeviceBlock block = device_memory().allocate(bytes);
    const std::shared_ptr<Buffer> buffer(new Buffer(block.data, bytes, bytes));
    buffer->owner_ = std::move(block.owner);
    return buffer;
  }
  const size_t capacity = capacity_for(bytes);
  std::byte* data = nullptr;
  if (kKeepBlocks) {
    std::lock_guard lock(kept_blocks().mutex);
    auto& free = kept_blocks().by_capacity[capacity];
    if (!free.empty()) {
      data = free.back();
      free.pop_back();
    }
  }
  if (!data) {
    data = static_cast<std::byte*>(::operator new(capacity, alignment_for(capacity)));
#if defined(__linux__)
    if (capacity >= kHugePage) madvise(data, capacity / kHugePage * kHugePage, MADV_HUGEPAGE);  // a wish, it may fail
#endif
  }
#ifndef NDEBUG
  std::memset(data, 0xFF, capacity);
#endif
  return std::shared_ptr<Buffer>(new Buffer(data, bytes, capacity));
}

Buffer::~Buffer() {
  if (owner_) {
    owner_->release(data_, bytes_);
  } else if (kKeepBlocks) {
    std::lock_guard lock(kept_blocks().mutex);
    kept_blocks().by_capacity[capacity_].push_back(data_);
  } else {
    ::operator delete(data_, alignment_for(capacity_));
  }
}

}  // namespace apotnet
