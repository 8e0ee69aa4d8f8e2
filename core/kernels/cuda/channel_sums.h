#pragma once

#include <type_traits>

#include "core/kernels/cuda/wide.h"

namespace apotnet::cuda {

/// How a tensor [pixels, channels] is cut for sums per channel. The cut depends on the shape alone, so the bits do too.
struct ChannelCut {
  int64_t pixels;
  int channels;
  int width;   // packs of channels side by side in a block
  int rows;    // pixels side by side in a block; width * rows <= kThreads
  int chunks;  // blocks over the pixels
  int64_t chunk;

  template <int N>
  static ChannelCut of(int64_t pixels, int64_t channels) {
    ChannelCut cut{pixels, static_cast<int>(channels), 0, 0, 0, 0};
    cut.width = static_cast<int>(std::min<int64_t>(channels / N, kThreads));
    cut.rows = kThreads / cut.width;
    // 8 pixels a thread where there are enough, and no more than 512 blocks.
    cut.chunk = std::max<int64_t>((pixels + 511) / 512, int64_t{8} * cut.rows);
    cut.chunks = static_cast<int>((pixels + cut.chunk - 1) / cut.chunk);
    return cut;
  }
  template <int N>
  dim3 grid() const {
    return dim3(static_cast<unsigned>(chunks), static_cast<unsigned>((channels / N + width - 1) / width));
  }
};

/// Two sums of a channel, and one of the whole tensor beside them.
struct ChannelSums {
  Wide a, b;
};

/// The last block: adds the chunks up, several threads to a channel.
template <typename Finish>
__device__ void finish_sums(const ChannelCut& cut, Finish& finish, const ChannelSums* partial,
                            const Wide* whole_partial, ChannelSums* sums) {
  const int thread = static_cast<int>(threadIdx.x), channels = min(cut.channels, kThreads),
            slices = kThreads / channels;
  for (int first = 0; first < cut.channels; first += channels) {
    const int channel = first + thread % channels, slice = thread / channels;
    ChannelSums total = {};
    if (channel < cut.channels && slice < slices)
      for (int chunk = slice; chunk < cut.chunks; chunk += slices) {
        const ChannelSums part = partial[int64_t{chunk} * cut.channels + channel];
        total.a.add(part.a);
        total.b.add(part.b);
      }
    __syncthreads();  // the array may still be read from the round before
    sums[thread] = total;
    __syncthreads();
    if (thread < channels && channel < cut.channels) {
      for (int s = 1; s < slices; ++s) {
        total.a.add(sums[s * channels + thread].a);
        total.b.add(sums[s * channels + thread].b);
      }
      finish(channel, total.a.value(), total.b.value());
    }
  }
  if (Finish::kWhole) {
    Wide whole = {};
    const int blocks = static_cast<int>(gridDim.x * gridDim.y);
    for (int i = thread; i < blocks; i += kThreads) whole.add(whole_partial[i]);
    whole = block_sum(whole);
    if (thread == 0) finish.whole(whole.value());
  }
}

/// Sums per channel in one launch. For each element `term(i, c, a, b, whole)` adds to the sums of its N channels, i the
/// index of the first of them in the tensor, c that of its channel in the block (term.prepare(c, channel) has been
/// called for it). The last block calls finish(channel, a, b) for every channel and finish.whole(sum) once.
template <int N, typename Term, typename Finish>
__global__ void __launch_bounds__(kThreads)
    channel_sums_kernel(ChannelCut cut, Term term, Finish finish, ChannelSums* partial, Wide* whole_partial,
                        unsigned* ticket) {
  SHARED_ARRAY(ChannelSums, sums, kThreads * N);
  SHARED_ARRAY(typename Term::Prepared, prepared, kThreads * N);
  const int thread = static_cast<int>(threadIdx.x), chunk = static_cast<int>(blockIdx.x);
  const int first = static_cast<int>(blockIdx.y) * cut.width * N;  // channel
  const int width = min(cut.width, (cut.channels - first) / N), row = thread / cut.width, place = thread % cut.width;
  for (int c = thread; c < width * N; c += kThreads) prepared[c] = term.prepare(first + c);
  __syncthreads();

  ChannelSums own[N] = {};
  Wide whole = {};
  const int64_t begin = chunk * cut.chunk, end = min(begin + cut.chunk, cut.pixels);
  if (place < width && row < cut.rows)
    for (int64_t pixel = begin + row; pixel < end; pixel += cut.rows)
      term.add(pixel * cut.channels + first + place * N, prepared + place * N, own, whole);

  for (int j = 0; j < N; ++j) sums[thread * N + j] = own[j];
  __syncthreads();
  for (int c = thread; c < width * N; c += kThreads) {
    ChannelSums total = {};
    for (int r = 0; r < cut.rows; ++r) {
      const ChannelSums& part = sums[(r * cut.width) * N + c];
      total.a.add(part.a);
      total.b.add(part.b);
    }
    partial[int64_t{chunk} * cut.channels + first + c] = total;
  }
  if (Term::kWhole) {
    const Wide total = block_sum(whole);
    if (thread == 0) whole_partial[chunk * static_cast<int>(gridDim.y) + static_cast<int>(blockIdx.y)] = total;
  }
  if (last_block(ticket)) finish_sums(cut, finish, partial, whole_partial, sums);
}

/// Runs the kernel above over `pixels` x `channels`.
template <int N, typename Term, typename Finish>
void launch_sums(const Node& node, int64_t pixels, int64_t channels, const Term& term, const Finish& finish) {
  static_assert(Term::kWhole == Finish::kWhole);
  const ChannelCut cut = ChannelCut::of<N>(pixels, channels);
  const dim3 grid = cut.grid<N>();
  Scratch<ChannelSums> partial(static_cast<size_t>(cut.chunks) * static_cast<size_t>(channels));
  Scratch<Wide> whole(Term::kWhole ? size_t{grid.x} * grid.y : 0);
  launch(node, channel_sums_kernel<N, Term, Finish>, grid, cut, term, finish, partial.data(), whole.data(),
         Context::get().ticket());
}

/// What a term without anything to prepare has.
struct NothingPrepared {
  char unused;
};

}  // namespace apotnet::cuda
