#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/kernels/cuda/wide.h"

// Many tensors in one launch: each is a job of some blocks, and a block finds its job by bisection.

namespace apotnet::cuda {

/// A job as one of its blocks sees it.
struct JobPlace {
  int job;            // its number in the launch
  int block, blocks;  // this block, and all, of the job
  int first_block;    // of the job, in the grid
};

/// The jobs of a launch, as a kernel's argument: __grid_constant__, or every thread gets a copy.
template <typename Job>
struct Jobs {
  static constexpr size_t kOtherArguments = 128;
  static constexpr int kMost = static_cast<int>(
      std::min<size_t>((kArgumentBytes - kOtherArguments) / (sizeof(Job) + sizeof(int)) - 1, Context::kTickets));

  int count;
  int first_block[kMost + 1];  // one more: their number in all
  Job jobs[kMost];

  __device__ JobPlace place_of(int block) const {
    int below = 0, above = count - 1;
    while (below < above) {
      const int middle = (below + above + 1) / 2;
      if (first_block[middle] <= block)
        below = middle;
      else
        above = middle - 1;
    }
    return {below, block - first_block[below], first_block[below + 1] - first_block[below], first_block[below]};
  }
  __device__ JobPlace place() const { return place_of(static_cast<int>(blockIdx.x)); }
};

/// Collects jobs and launches them, as many at once as a kernel's arguments have room for.
template <typename Job>
class JobQueue {
 public:
  /// `run` launches `blocks` blocks.
  using Run = std::function<void(const Node& node, unsigned blocks, const Jobs<Job>& jobs)>;

  JobQueue(std::string_view name, Run run) : node_{name}, run_(std::move(run)) {}

  /// A job of `blocks` blocks that reads and writes so many bytes.
  void add(const Job& job, int64_t blocks, size_t reads, size_t writes) {
    if (jobs_->count == Jobs<Job>::kMost) run();
    const int64_t all = jobs_->first_block[jobs_->count] + blocks;
    require(blocks > 0 && all <= INT32_MAX, "a launch of ", all, " blocks, ", blocks, " of them for one tensor");
    jobs_->jobs[jobs_->count++] = job;
    jobs_->first_block[jobs_->count] = static_cast<int>(all);
    node_.reads += reads;
    node_.writes += writes;
  }
  /// Launches what is left.
  void run() {
    if (jobs_->count == 0) return;
    run_(node_, static_cast<unsigned>(jobs_->first_block[jobs_->count]), *jobs_);
    jobs_->count = 0;
    node_ = {node_.name};
  }

 private:
  Node node_;
  Run run_;
  std::unique_ptr<Jobs<Job>> jobs_ = std::make_unique<Jobs<Job>>();
};

/// Blocks for a job of `count` elements, per_block for each.
inline int64_t blocks_of_job(int64_t count, int64_t per_block) { return (count + per_block - 1) / per_block; }

/// Every N-th index of the block's elements, N for a thread at a time.
template <int N, int64_t kPerBlock, typename F>
__device__ void for_each_of_block(int block, int64_t count, F&& f) {
  const int64_t begin = block * kPerBlock, end = min(begin + kPerBlock, count);
  for (int64_t i = begin + int64_t{threadIdx.x} * N; i < end; i += kThreads * N) f(i);
}

/// Adds up what the threads of a job's blocks bring, in an order that depends on the job's size alone. True in the
/// block that ends last: there thread 0 has the sums. `partial` has room for K numbers of each block of the grid.
template <int K>
__device__ bool job_sums(Wide (&sums)[K], const JobPlace& place, Wide* partial, unsigned* tickets) {
  const int thread = static_cast<int>(threadIdx.x);
  partial += int64_t{place.first_block} * K;
  for (int k = 0; k < K; ++k) {
    const Wide of_block = block_sum(sums[k]);
    if (thread == 0) partial[place.block * K + k] = of_block;
  }
  if (!last_block(tickets + place.job, static_cast<unsigned>(place.blocks))) return false;
  for (int k = 0; k < K; ++k) {
    Wide total = {};
    for (int i = thread; i < place.blocks; i += kThreads) total.add(partial[i * K + k]);
    sums[k] = block_sum(total).value();
  }
  return true;
}

}  // namespace apotnet::cuda
