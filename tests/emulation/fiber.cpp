#include "tests/emulation/fiber.h"

#include <sys/mman.h>
#include <ucontext.h>

#include <cstdint>
#include <cstdlib>
#include <utility>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#else
#define AnnotateIgnoreReadsBegin(file, line)
#define AnnotateIgnoreReadsEnd(file, line)
#define AnnotateIgnoreWritesBegin(file, line)
#define AnnotateIgnoreWritesEnd(file, line)
#endif

namespace emulation {
namespace {

constexpr size_t kStack = size_t{256} << 10;  // address space; pages come as they are touched

}  // namespace

// A switch by hand: swapcontext() makes two system calls, and there are millions of switches.
#if defined(__x86_64__)
struct Place {
  void* stack_pointer = nullptr;
};
extern "C" void emulation_switch(void** from, void* to);
asm(R"(
.text
.type emulation_switch, @function
emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size emulation_switch, .-emulation_switch
)");
namespace {
void switch_places(Place& from, Place& to) { emulation_switch(&from.stack_pointer, to.stack_pointer); }
void prepare(Place& place, std::byte* stack, void (*entry)()) {
  auto* top = reinterpret_cast<uintptr_t*>(stack + kStack) - 2;
  top[0] = reinterpret_cast<uintptr_t>(entry);  // where the first switch returns to, with the stack as after a call
  top[1] = 0;
  for (int i = 1; i <= 6; ++i) top[-i] = 0;
  place.stack_pointer = top - 6;
}
}  // namespace
#else
struct Place {
  ucontext_t context{};
};
namespace {
void switch_places(Place& from, Place& to) { swapcontext(&from.context, &to.context); }
void prepare(Place& place, std::byte* stack, void (*entry)()) {
  getcontext(&place.context);
  place.context.uc_stack.ss_sp = stack;
  place.context.uc_stack.ss_size = kStack;
  makecontext(&place.context, entry, 0);
}
}  // namespace
#endif

struct Fiber::State {
  std::byte* stack = nullptr;
  Place own, caller;
  std::function<void()> body;
  bool begun = false, ended = true;
  void* sanitizer = nullptr;         // of the thread sanitizer, or the address sanitizer's saved fake stack
  void* caller_sanitizer = nullptr;  // the same of who resumed
  const void* caller_stack = nullptr;
  size_t caller_stack_size = 0;
};

namespace {

Fiber::State* running = nullptr;

void enter(Fiber::State& fiber) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&fiber.caller_sanitizer, fiber.stack, kStack);
#elif defined(__SANITIZE_THREAD__)
  fiber.caller_sanitizer = __tsan_get_current_fiber();
  __tsan_switch_to_fiber(fiber.sanitizer, __tsan_switch_to_fiber_no_sync);
#endif
  switch_places(fiber.caller, fiber.own);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fiber.caller_sanitizer, nullptr, nullptr);
#endif
}

void leave(Fiber::State& fiber) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&fiber.sanitizer, fiber.caller_stack, fiber.caller_stack_size);
#elif defined(__SANITIZE_THREAD__)
  __tsan_switch_to_fiber(fiber.caller_sanitizer, __tsan_switch_to_fiber_no_sync);
#endif
  switch_places(fiber.own, fiber.caller);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fiber.sanitizer, &fiber.caller_stack, &fiber.caller_stack_size);
#endif
}

// One body after another: a fiber whose body has ended takes the next one without a new stack.
void work() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &running->caller_stack, &running->caller_stack_size);
#endif
  for (;;) {
    running->body();
    running->ended = true;
    leave(*running);
  }
}

}  // namespace

Fiber::Fiber() : state_(std::make_unique<State>()) {
  void* memory = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) std::abort();
  state_->stack = static_cast<std::byte*>(memory);
#if defined(__SANITIZE_THREAD__)
  state_->sanitizer = __tsan_create_fiber(0);
#endif
}

Fiber::~Fiber() {
#if defined(__SANITIZE_THREAD__)
  __tsan_destroy_fiber(state_->sanitizer);
#elif defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(state_->stack, kStack);
#endif
  munmap(state_->stack, kStack);
}

void Fiber::start(std::function<void()> body) {
  if (!state_->ended) {
    state_->begun = false;
#if defined(__SANITIZE_ADDRESS__)
    __asan_unpoison_memory_region(state_->stack, kStack);
    state_->sanitizer = nullptr;
#endif
  }
  state_->body = std::move(body);
  state_->ended = false;
}

bool Fiber::resume() {
  State* const former = std::exchange(running, state_.get());
  if (!state_->begun) {
    prepare(state_->own, state_->stack, work);
    state_->begun = true;
  }
  enter(*state_);
  running = former;
  return state_->ended;
}

void Fiber::pause() { leave(*running); }

void release([[maybe_unused]] void* place) {
#if defined(__SANITIZE_THREAD__)
  __tsan_release(place);
#endif
}

Unseen::Unseen() {
  AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
  AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
}

Unseen::~Unseen() {
  AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
  AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
}

void acquire([[maybe_unused]] void* place) {
#if defined(__SANITIZE_THREAD__)
  __tsan_acquire(place);
#endif
}

}  // namespace emulation
