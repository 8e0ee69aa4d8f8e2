#include "tests/support/allocation_watch.h"

#include <cstdlib>
#include <new>

std::atomic<size_t> apotnet::test::largest_allocation{0};

namespace {

void note(size_t bytes) {
  size_t seen = apotnet::test::largest_allocation.load();
  while (bytes > seen && !apotnet::test::largest_allocation.compare_exchange_weak(seen, bytes)) {
  }
}

}  // namespace

void* operator new(size_t bytes) {
  note(bytes);
  if (void* memory = std::malloc(bytes ? bytes : 1)) return memory;
  throw std::bad_alloc();
}

void* operator new(size_t bytes, std::align_val_t alignment) {
  note(bytes);
  const auto unit = static_cast<size_t>(alignment);
  if (void* memory = std::aligned_alloc(unit, (bytes + unit - 1) / unit * unit)) return memory;
  throw std::bad_alloc();
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }
