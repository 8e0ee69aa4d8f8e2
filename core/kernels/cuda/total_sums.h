#pragma once

#include "core/kernels/cuda/channel_sums.h"

namespace apotnet::cuda {

/// Sums over a whole tensor in one launch. For each N elements `term(i, sums)` adds to the thread's two sums and may
/// write what it finds; the last block calls finish(a, b) once. The order depends on the number of elements alone.
template <int N, typename Term, typename Finish>
__global__ void __launch_bounds__(kThreads)
    total_sums_kernel(int64_t packs, Term term, Finish finish, ChannelSums* partial, unsigned* ticket) {
  ChannelSums own = {};
  for_each_index(packs, [&](int64_t i) { term(i * N, own); });
  const ChannelSums of_block{block_sum(own.a), block_sum(own.b)};
  if (threadIdx.x == 0) partial[blockIdx.x] = of_block;
  if (!last_block(ticket)) return;
  ChannelSums total = {};
  for (unsigned i = threadIdx.x; i < gridDim.x; i += kThreads) {
    total.a.add(partial[i].a);
    total.b.add(partial[i].b);
  }
  const Wide a = block_sum(total.a), b = block_sum(total.b);
  if (threadIdx.x == 0) finish(a.value(), b.value());
}

template <int N, typename Term, typename Finish>
void launch_total(const Node& node, int64_t count, const Term& term, const Finish& finish) {
  const unsigned blocks = std::min(blocks_for((count / N + 7) / 8), 512u);
  Scratch<ChannelSums> partial(blocks);
  launch(node, total_sums_kernel<N, Term, Finish>, blocks, count / N, term, finish, partial.data(),
         Context::get().ticket());
}

}  // namespace apotnet::cuda
