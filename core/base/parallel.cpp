#include "core/base/parallel.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <exception>
#include <memory>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

namespace apotnet {
namespace {

thread_local bool inside_parallel_region = false;

class ThreadPool {
 public:
  explicit ThreadPool(int threads) {
    try {
      for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
    } catch (const std::system_error&) {
      // The system gives no more threads: the ones made, and at least the caller, do the work.
    }
  }

  ~ThreadPool() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  void run(int64_t chunks, const std::function<void(int64_t)>& body) {
    {
      std::lock_guard lock(mutex_);
      body_ = &body;
      chunks_ = chunks;
      next_.store(0, std::memory_order_relaxed);
      failed_chunk_ = chunks;
      failure_ = nullptr;
      busy_ = static_cast<int>(workers_.size());
      ++generation_;
    }
    wake_.notify_all();
    run_chunks();
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void work() {
    uint64_t seen = 0;
    for (;;) {
      {
        std::unique_lock lock(mutex_);
        wake_.wait(lock, [&] { return stopping_ || generation_ != seen; });
        if (stopping_) return;
        seen = generation_;
      }
      run_chunks();
      std::lock_guard lock(mutex_);
      if (--busy_ == 0) done_.notify_one();
    }
  }

  void run_chunks() {
    inside_parallel_region = true;
    for (int64_t i; (i = next_.fetch_add(1, std::memory_order_relaxed)) < chunks_;) {
      try {
        (*body_)(i);
      } catch (...) {
        std::lock_guard lock(mutex_);
        if (i < failed_chunk_) {
          failed_chunk_ = i;
          failure_ = std::current_exception();
        }
      }
    }
    inside_parallel_region = false;
  }

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const std::function<void(int64_t)>* body_ = nullptr;
  int64_t chunks_ = 0;
  std::atomic<int64_t> next_{0};
  int busy_ = 0;
  uint64_t generation_ = 0;
  bool stopping_ = false;
  int64_t failed_chunk_ = 0;
  std::exception_ptr failure_;
};

std::mutex pool_mutex;  // one parallel region at a time; also guards the pool's replacement
std::unique_ptr<ThreadPool> pool;
std::atomic<int> wanted_threads{1};

}  // namespace

void set_thread_count(int threads) {
  std::lock_guard lock(pool_mutex);
  wanted_threads = std::max(1, threads);
  pool.reset();
}

int thread_count() { return wanted_threads; }

void parallel_for(int64_t chunks, const std::function<void(int64_t)>& body) {
  if (chunks > 1 && !inside_parallel_region) {
    std::lock_guard lock(pool_mutex);
    if (wanted_threads > 1) {
      if (!pool) pool = std::make_unique<ThreadPool>(wanted_threads);
      pool->run(chunks, body);
      return;
    }
  }
  for (int64_t i = 0; i < chunks; ++i) body(i);
}

void parallel_ranges(int64_t total, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  const int64_t step = std::max<int64_t>(1, grain);
  parallel_for((total + step - 1) / step, [&](int64_t i) { body(i * step, std::min(total, (i + 1) * step)); });
}

}  // namespace apotnet
