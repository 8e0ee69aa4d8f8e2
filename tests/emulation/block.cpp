#include "tests/emulation/block.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/emulation/fiber.h"

namespace emulation {

Position position;

namespace {

constexpr size_t kSharedLimit = size_t{48} << 10;
constexpr uint32_t kWarp = 32;
constexpr size_t kGathered = 32;  // bytes that a lane brings to warp_gather() at most

std::mt19937_64& random_source() {
  // The tests are run with several.
  static std::mt19937_64 source([] {
    const char* const number = std::getenv("EMULATION_SEED");
    return number ? std::strtoull(number, nullptr, 10) : 1;
  }());
  return source;
}

template <typename Range>
void shuffle(Range& range) {
  for (size_t i = range.size(); i > 1; --i) std::swap(range[i - 1], range[random_below(i)]);
}

std::string describe(const Location& location) {
  const std::string path = location.file_name();
  return path.substr(path.find_last_of('/') + 1) + ":" + std::to_string(location.line());
}

enum class Wait { nothing, barrier, grid, warp, ended };

struct Thread {
  Fiber* fiber = nullptr;
  Position place;
  Wait wait = Wait::nothing;
  bool arrived = false;  // at the barrier of all blocks
  Location location;
  uint32_t mask = 0;  // of the exchange it waits in
};

struct Warp {
  uint32_t arrived = 0;
  Location location;
  std::array<uint64_t, kWarp> offered{}, results{};
  alignas(std::max_align_t) std::array<std::byte, kWarp * kGathered> brought{}, gathered{};
};

struct SharedArray {
  const void* place;
  size_t bytes;
  std::unique_ptr<std::byte[]> data;  // on the heap, so that the address sanitizer sees an index outside it
  std::byte* lent = nullptr;          // or a part of Block::own_shared

  std::byte* memory() { return lent ? lent : data.get(); }
};

// A block in the middle of its run.
struct Block {
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<SharedArray> shared;
  size_t shared_bytes = 0;
  std::byte* own_shared = nullptr;  // thread sanitizer: memory that no other block of the launch has
  bool together = false;            // with the other blocks
  size_t first_fiber = 0;           // of its own, where blocks run together
  size_t turn = 0;                  // thread sanitizer: moves the threads on to other fibers from block to block
  size_t ended = 0;
  std::vector<size_t> ready;
  Thread* now = nullptr;
  size_t now_number = 0;
  std::string fault;
};

Block* block = nullptr;
char start_of_grid, end_of_grid;  // the host's writes before a launch, and its reads after

// Fibers live as long as the process: each one is a stack.
std::vector<std::unique_ptr<Fiber>>& all_fibers() {
  static auto* fibers = new std::vector<std::unique_ptr<Fiber>>;
  return *fibers;
}

Fiber* fiber_number(size_t i) {
  auto& fibers = all_fibers();
  while (fibers.size() <= i) fibers.push_back(std::make_unique<Fiber>());
  return fibers[i].get();
}

// Nobody can go on: the barrier opens, or somebody waits for nothing.
void open_barrier(Block& b) {
  const auto at_warp = std::ranges::find_if(b.threads, [](const Thread& thread) { return thread.wait == Wait::warp; });
  if (at_warp != b.threads.end())
    throw Fault("a shuffle or warp barrier at " + describe(at_warp->location) +
                " waits for lanes that never come (mask " + std::to_string(at_warp->mask) + ")");
  const auto first = std::ranges::find_if(
      b.threads, [](const Thread& thread) { return thread.wait == Wait::barrier || thread.wait == Wait::grid; });
  if (b.ended > 0)
    throw Fault("a barrier at " + describe(first->location) + " that " + std::to_string(b.ended) +
                " threads of the block never reach");
  for (const Thread& thread : b.threads)
    if (thread.location.line() != first->location.line() || thread.location.column() != first->location.column())
      throw Fault("threads of one block wait at different barriers, " + describe(first->location) + " and " +
                  describe(thread.location));
  for (size_t i = 0; i < b.threads.size(); ++i) {
    b.threads[i].wait = Wait::nothing;
    b.ready.push_back(i);
  }
}

void run_ready_threads(Block& b, const std::function<void()>& kernel, std::vector<Fiber*>& free_fibers) {
  std::vector<size_t> order;
  order.swap(b.ready);
  shuffle(order);
  for (const size_t i : order) {
    Thread& thread = b.threads[i];
    if (!thread.fiber) {
      // A fiber whose thread has ended takes the next one; to the thread sanitizer they would then be one thread. For
      // it threads share a fiber with one of another block at most, and not always with that of their own number.
      if (kThreadSanitizer) {
        thread.fiber = fiber_number(b.first_fiber + (b.turn + i) % b.threads.size());
      } else {
        thread.fiber = free_fibers.back();
        free_fibers.pop_back();
      }
      // Not a copy of the kernel for each thread, which would be one of its arguments too.
      thread.fiber->start([&kernel] {
        acquire(&start_of_grid);
        kernel();
        release(&end_of_grid);
      });
    }
    position = thread.place;
    b.now = &thread;
    b.now_number = i;
    const bool ended = thread.fiber->resume();
    if (!b.fault.empty()) throw Fault(b.fault);
    if (ended) {
      if (thread.arrived) throw Fault("a thread ends between arriving and waiting for all blocks");
      thread.wait = Wait::ended;
      ++b.ended;
      if (!kThreadSanitizer) free_fibers.push_back(thread.fiber);
    }
  }
}

bool waits_for_grid(const Block& b) {
  return std::ranges::all_of(b.threads, [&](const Thread& thread) {
    return thread.wait == Wait::grid && thread.location.line() == b.threads.front().location.line();
  });
}

// Until the block's end, or the next barrier of all blocks.
void run_block(Block& b, const std::function<void()>& kernel) {
  std::vector<Fiber*> free_fibers;
  if (!kThreadSanitizer)
    for (size_t i = 0; i < b.threads.size(); ++i) free_fibers.push_back(fiber_number(b.first_fiber + i));
  while (b.ended < b.threads.size()) {
    if (b.ready.empty() && waits_for_grid(b)) return;
    if (b.ready.empty()) open_barrier(b);
    run_ready_threads(b, kernel, free_fibers);
  }
}

void reset(Block& b, dim3 grid, dim3 size, uint3 place) {
  const size_t count = size_t{size.x} * size.y * size.z;
  b.threads.assign(count, {});
  b.warps.assign((count + kWarp - 1) / kWarp, {});
  b.ended = 0;
  b.ready.resize(count);
  std::iota(b.ready.begin(), b.ready.end(), size_t{0});
  for (size_t i = 0; i < count; ++i) {
    const auto n = static_cast<uint32_t>(i);
    b.threads[i].place = {{n % size.x, n / size.x % size.y, n / (size.x * size.y)}, place, size, grid};
  }
  if (kThreadSanitizer) {
    b.shared.clear();
    b.shared_bytes = 0;
  }
  for (SharedArray& array : b.shared) std::memset(array.memory(), 0xFF, array.bytes);
}

}  // namespace

// The scheduler never comes back to the thread.
void fail_thread(const std::string& what, const Location& location) {
  const uint3 t = position.thread, b = position.block;
  block->fault = what + " at " + describe(location) + ", thread " + std::to_string(t.x) + " of block " +
                 std::to_string(b.x) + (b.y > 0 ? "," + std::to_string(b.y) : "");
  Fiber::pause();
  std::abort();
}

void seed(uint64_t value) { random_source().seed(value); }

uint64_t random_below(uint64_t bound) { return random_source()() % bound; }

namespace {

// Every block in turn up to the next barrier of all, until they have ended.
void run_together(std::vector<Block>& blocks, const std::vector<uint32_t>& first_order,
                  const std::function<void()>& kernel) {
  std::vector<uint32_t> order = first_order;
  for (;;) {
    for (const uint32_t n : order) {
      block = &blocks[n];
      run_block(blocks[n], kernel);
    }
    const auto waiting = std::ranges::count_if(blocks, waits_for_grid);
    if (waiting == 0) return;
    const auto first = std::ranges::find_if(blocks, waits_for_grid);
    const Location& location = first->threads.front().location;
    if (static_cast<size_t>(waiting) < blocks.size())
      throw Fault("a barrier of all blocks at " + describe(location) + " that " +
                  std::to_string(blocks.size() - static_cast<size_t>(waiting)) + " of them never reach");
    for (Block& b : blocks) {
      if (b.threads.front().location.line() != location.line())
        throw Fault("blocks wait at different barriers, " + describe(location) + " and " +
                    describe(b.threads.front().location));
      open_barrier(b);
    }
    shuffle(order);
  }
}

}  // namespace

void run_grid(dim3 grid, dim3 size, bool together, const std::function<void()>& kernel) {
  const Unseen unseen;
  std::vector<uint32_t> order(size_t{grid.x} * grid.y * grid.z);
  std::iota(order.begin(), order.end(), 0u);
  shuffle(order);
  // Two blocks in the same shared memory would look like a race: nothing orders them.
  const auto shared = std::make_unique_for_overwrite<std::byte[]>(kThreadSanitizer ? order.size() * kSharedLimit : 0);
  std::vector<Block> blocks(together ? order.size() : 1);
  Block* const former = block;
  const auto prepare = [&](Block& own, uint32_t n) {
    own.own_shared = kThreadSanitizer ? shared.get() + size_t{n} * kSharedLimit : nullptr;
    own.together = together;
    if (together) own.first_fiber = n * size_t{size.x} * size.y * size.z;
    own.turn += 7;
    reset(own, grid, size, {n % grid.x, n / grid.x % grid.y, n / (grid.x * grid.y)});
  };
  release(&start_of_grid);
  try {
    if (together) {
      for (const uint32_t n : order) prepare(blocks[n], n);
      run_together(blocks, order, kernel);
    } else {
      block = &blocks[0];
      for (const uint32_t n : order) {
        prepare(blocks[0], n);
        run_block(blocks[0], kernel);
      }
    }
  } catch (...) {
    block = former;
    throw;
  }
  acquire(&end_of_grid);
  block = former;
}

void block_barrier(const Location& location) {
  const Unseen unseen;
  Block& b = *block;
  Thread& thread = *b.now;
  thread.wait = Wait::barrier;
  thread.location = location;
  release(&b);
  Fiber::pause();
  acquire(&b);
}

namespace {
char all_blocks;
}

void grid_arrive(const Location& location) {
  const Unseen unseen;
  if (!block->together) fail_thread("a barrier of all blocks in a launch whose blocks do not run together", location);
  if (std::exchange(block->now->arrived, true)) fail_thread("arriving twice at the barrier of all blocks", location);
  release(&all_blocks);
}

void grid_wait(const Location& location) {
  const Unseen unseen;
  Thread& thread = *block->now;
  if (!std::exchange(thread.arrived, false)) fail_thread("waiting for all blocks without having arrived", location);
  thread.wait = Wait::grid;
  thread.location = location;
  Fiber::pause();
  acquire(&all_blocks);
}

int lane() { return static_cast<int>(block->now_number % kWarp); }

namespace {

// The running thread arrives with the lanes of `mask`: the last of them calls `complete`, the others wait for that.
template <typename Complete>
void meet(Warp& warp, uint32_t mask, bool orders_memory, const Location& location, Complete&& complete) {
  Block& b = *block;
  Thread& thread = *b.now;
  const size_t number = b.now_number, first = number / kWarp * kWarp;
  const auto own = static_cast<uint32_t>(number % kWarp);
  if ((warp.arrived & mask) != 0 && warp.location.line() != location.line())
    fail_thread("lanes of one warp meet in different shuffles", location);
  warp.arrived |= uint32_t{1} << own;
  warp.location = location;
  if (orders_memory) release(&warp);
  if ((warp.arrived & mask) == mask) {
    warp.arrived &= ~mask;
    complete();
    for (uint32_t i = 0; i < kWarp; ++i)
      if ((mask >> i & 1) && i != own) {
        b.threads[first + i].wait = Wait::nothing;
        b.ready.push_back(first + i);
      }
  } else {
    thread.wait = Wait::warp;
    thread.location = location;
    thread.mask = mask;
    Fiber::pause();
  }
  if (orders_memory) acquire(&warp);
}

}  // namespace

uint64_t warp_exchange(uint32_t mask, uint64_t bits, int source_lane, bool orders_memory, const Location& location) {
  const Unseen unseen;
  const auto own = static_cast<uint32_t>(lane());
  Warp& warp = block->warps[block->now_number / kWarp];
  if ((mask >> own & 1) == 0) fail_thread("a shuffle by a lane outside its own mask", location);
  if (source_lane < 0 || source_lane >= static_cast<int>(kWarp) || (mask >> source_lane & 1) == 0)
    fail_thread("a shuffle from a lane outside the mask", location);
  warp.offered[own] = bits;
  meet(warp, mask, orders_memory, location, [&] {
    for (uint32_t i = 0; i < kWarp; ++i)
      if (mask >> i & 1) warp.results[i] = warp.offered[i];
  });
  return warp.results[static_cast<size_t>(source_lane)];
}

const void* warp_gather(const void* own, size_t bytes, const Location& location) {
  const Unseen unseen;
  if (bytes > kGathered) fail_thread("a lane brings more than 32 bytes", location);
  Warp& warp = block->warps[block->now_number / kWarp];
  std::memcpy(warp.brought.data() + static_cast<size_t>(lane()) * bytes, own, bytes);
  meet(warp, 0xFFFFFFFFu, false, location, [&] { warp.gathered = warp.brought; });
  return warp.gathered.data();
}

void* shared_bytes(const void* place, size_t bytes, const Location& location) {
  const Unseen unseen;
  Block& b = *block;
  for (SharedArray& array : b.shared)
    if (array.place == place) return array.memory();
  const size_t begin = (b.shared_bytes + 15) / 16 * 16;
  b.shared_bytes = begin + bytes;
  if (b.shared_bytes > kSharedLimit) fail_thread("more than 48 KiB of shared memory", location);
  SharedArray array{place, bytes, nullptr, b.own_shared ? b.own_shared + begin : nullptr};
  if (!array.lent) array.data = std::make_unique_for_overwrite<std::byte[]>(bytes);
  std::memset(array.memory(), 0xFF, bytes);
  b.shared.push_back(std::move(array));
  return b.shared.back().memory();
}

void require_matrix_row(const void* row, const Location& location) {
  const Unseen unseen;
  const auto* const place = static_cast<const std::byte*>(row);
  if (reinterpret_cast<uintptr_t>(row) % 16 != 0)
    fail_thread("a row of a matrix that does not begin at a multiple of 16 bytes", location);
  const auto holds = [&](SharedArray& array) {
    return place >= array.memory() && place + 16 <= array.memory() + array.bytes;
  };
  if (std::ranges::none_of(block->shared, holds)) fail_thread("a row of a matrix outside shared memory", location);
}

}  // namespace emulation
