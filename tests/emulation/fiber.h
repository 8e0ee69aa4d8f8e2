#pragma once

#include <cstddef>
#include <functional>
#include <memory>

namespace emulation {

/// A function with a stack of its own that can stop in the middle and go on later: a thread of an emulated block.
/// Everything happens on the calling operating-system thread.
class Fiber {
 public:
  Fiber();
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  /// Sets what the next resume() begins; the fiber must not be in the middle of something, or is made to forget it.
  void start(std::function<void()> body);
  /// Runs until the body calls pause() or ends; true when it has ended.
  bool resume();
  /// Back to the caller of resume(); to be called inside a body.
  static void pause();

  struct State;

 private:
  std::unique_ptr<State> state_;
};

#if defined(__SANITIZE_THREAD__)
inline constexpr bool kThreadSanitizer = true;
#else
inline constexpr bool kThreadSanitizer = false;
#endif

/// What orders memory for the thread sanitizer: everything before release(p) is seen after a later acquire(p). Fibers
/// are threads to it, and switching between them orders nothing.
void release(void* place);
void acquire(void* place);

/// While one lives, what the calling fiber reads and writes is bookkeeping of the emulation and no business of the
/// thread sanitizer.
class Unseen {
 public:
  Unseen();
  ~Unseen();
  Unseen(const Unseen&) = delete;
  Unseen& operator=(const Unseen&) = delete;
};

}  // namespace emulation
