#include "tests/data/allocation_watch.h"

#include <cstdlib>
#include <new>

std::atomic<size_t> apotnet::test::largest_allocation{0};

void* operator new(size_t bytes) {
  size_t seen = apotnet::test::largest_allocation.load();
  while (bytes > seen && !apotnet::test::largest_allocation.compare_exchange_weak(seen, bytes)) {
  }
  if (void* memory = std::malloc(bytes ? bytes : 1)) return memory;
  throw std::bad_alloc();
}

void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
