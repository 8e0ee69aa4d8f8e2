#pragma once

#include "core/kernels/cuda/step/stored_gradient.h"

// The steps of a ValueGradient (step_kernels.h) for kernels whose threads hold the gradient of N channels of a pixel:
// ValuePass does the steps, finish_value_gradient() brings the sums of the whole grid together.

namespace apotnet::cuda {

/// What one thread has summed: the kept gradient of its N channels, its products with x - mean for each batch norm,
/// and alpha's gradient times K alpha. Floats hold the few elements of a thread; all threads' sums are added up wide.
template <int N, int kNorms>
struct ValueSums {
  float g[N], gx[kNorms][N], alpha;
};

/// Numbers of a channel that a block keeps in shared memory, each an array over its channels.
enum Term : int { kScaleA, kShiftA, kScaleB, kShiftB, kMean0, kMean1, kTerms };

/// Where the input of a batch norm comes from: it may have been read for the value already.
enum class Source { none, value_a, value_b, memory };

/// One of the batch norms on the device.
struct NormPart {
  Source source;
  OperandArrays operand;  // where the source is memory
  FinishNormGradient<false> finish;

  /// The batch norm number `n` of the gradient; Source::none where there is none.
  static NormPart of(ValueGradient& gradient, size_t n);
};

/// What the steps have to know of a value.
struct ValueNeeds {
  bool value = false, a = false, b = false;  // the finished value, the raw numbers of its operands
  bool masks = false;

  explicit ValueNeeds(const ValueGradient& gradient);
};

/// ValueGradient on the device.
template <int kNorms>
struct ValueGradientArrays {
  ValueArrays value;
  ValueNeeds needs;
  bool quantized;
  const float* alpha;
  Levels levels;
  GradientInput other;
  GradientOutput out;
  NormPart norms[kNorms];
  float* galpha;
  Wide *partial, *alpha_partial;  // [blocks over pixels, 1 + kNorms, channels], [blocks]

  ValueGradientArrays(ValueGradient& gradient, Wide* partial_sums, Wide* alpha_partial_sums)
      : ValueGradientArrays(gradient, partial_sums, alpha_partial_sums, std::make_index_sequence<size_t{kNorms}>{}) {}

 private:
  template <size_t... n>
  ValueGradientArrays(ValueGradient& gradient, Wide* partial_sums, Wide* alpha_partial_sums, std::index_sequence<n...>)
      : value(gradient.value),
        needs(gradient),
        quantized(gradient.quantized),
        alpha(quantized ? input<float>(gradient.alpha) : nullptr),
        levels(quantized ? *gradient.levels : LevelSet::of_magnitude(LevelMethod::ternary, 1)),
        other(gradient.other),
        out(gradient.out),
        norms{NormPart::of(gradient, n)...},
        galpha(quantized ? output<float>(gradient.galpha) : nullptr),
        partial(partial_sums),
        alpha_partial(alpha_partial_sums) {}
};

/// Bytes that the steps read in device memory, besides the gradient that they begin with.
size_t bytes_read(const ValueGradient& gradient);
/// Error(internal) unless types and shapes are those of a ValueGradient.
void check_value_gradient(const ValueGradient& gradient);

/// The step behind a quantizer (F8): gradients of values above alpha are dropped, and `alpha_sum` takes what the others
/// count for, times K alpha. rounded(i) is the code at place i of a table, times alpha.
template <int N, typename Set, typename Rounded>
__device__ void leave_quantizer(Pack<float, N>& g, const Pack<float, N>& values, float alpha, float k,
                                const ClippedQuotient& quotient, const Set& levels, Rounded&& rounded,
                                float& alpha_sum) {
  for (int j = 0; j < N; ++j) {
    const bool above = values[j] > alpha;
    const float own = rounded(place_in_table(quotient(values[j]), levels));  // K alpha where above
    alpha_sum = fmaf(g[j], fmaf(-k, above ? 0.0f : values[j], own), alpha_sum);
    g[j] = above ? 0.0f : g[j];
  }
}

/// A block's own state for the steps; shared memory is ready after the next barrier.
template <int kNorms>
struct ValuePass {
  const ValueGradientArrays<kNorms>& arrays;
  const float* terms;  // [kTerms, pitch]
  int pitch;
  const float* table;  // of every half step its code times alpha
  float step_a, step_b, steps[kNorms], alpha, k;
  ClippedQuotient quotient;

  /// For `count` channels from `first` on; `room` for kTerms * pitch floats, 16-byte aligned where pitch is a multiple
  /// of 4, and for kTableSize more.
  __device__ ValuePass(const ValueGradientArrays<kNorms>& gradient, int first, int count, float* room, int room_pitch,
                       float* room_for_table)
      : arrays(gradient),
        terms(room),
        pitch(room_pitch),
        table(room_for_table),
        step_a(gradient.value.a.step()),
        step_b(gradient.value.b.step()),
        alpha(gradient.quantized ? gradient.alpha[0] : 1.0f),
        k(static_cast<float>(gradient.levels.k)),
        quotient(alpha) {
    for (int n = 0; n < kNorms; ++n) steps[n] = gradient.norms[n].operand.step();
    for (int c = static_cast<int>(threadIdx.x); c < count; c += kThreads) {
      keep_norm(gradient.value.a, first + c, room + kScaleA * pitch + c);
      keep_norm(gradient.value.b, first + c, room + kScaleB * pitch + c);
      for (int n = 0; n < kNorms; ++n)
        if (gradient.norms[n].source != Source::none)
          room[(kMean0 + n) * pitch + c] = gradient.norms[n].finish.norm.mean[first + c];
    }
    if (gradient.quantized) fill_table(gradient.levels, room_for_table, alpha);
  }

  /// What the steps need of device memory for N channels of a pixel, element i of the tensor the first of them; nothing
  /// where i is below 0.
  template <int N>
  struct Fetched {
    Pack<Word, N> a, b, other, norms[kNorms];
  };
  template <int N>
  __device__ Fetched<N> fetch(int64_t i) const {
    Fetched<N> result = {};
    if (i < 0) return result;
    if (arrays.needs.a) result.a = arrays.value.a.template fetch<N>(i);
    if (arrays.needs.b) result.b = arrays.value.b.template fetch<N>(i);
    if (arrays.other.defined()) result.other = arrays.other.template fetch<N>(i);
    for (int n = 0; n < kNorms; ++n)
      if (arrays.norms[n].source == Source::memory) result.norms[n] = arrays.norms[n].operand.template fetch<N>(i);
    return result;
  }
  /// The steps, from the gradient of what the value became to the stored one; c is the first channel in the block.
  template <int N>
  __device__ void operator()(Pack<float, N> g, const Fetched<N>& fetched, int64_t i, int c,
                             ValueSums<N, kNorms>& sums) const {
    Pack<float, N> as{}, bs{}, values{};
    if (arrays.needs.a) as = arrays.value.a.finish_raw(fetched.a, i, step_a);
    if (arrays.needs.b) bs = arrays.value.b.finish_raw(fetched.b, i, step_b);
    if (arrays.needs.value) values = finish(as, bs, c);
    if (arrays.quantized)
      leave_quantizer(
          g, values, alpha, k, quotient, arrays.levels, [&](int place) { return table[place]; }, sums.alpha);
    if (arrays.other.defined()) {
      const Pack<float, N> others = arrays.other.finish(fetched.other);
      for (int j = 0; j < N; ++j) g[j] += others[j];
    }
    if (arrays.needs.masks)
      for (int j = 0; j < N; ++j) g[j] = values[j] > 0 ? g[j] : 0.0f;
    arrays.out.put(i, g);
    for (int j = 0; j < N; ++j) sums.g[j] += g[j];
    for (int n = 0; n < kNorms; ++n) {
      const NormPart& norm = arrays.norms[n];
      if (norm.source == Source::none) continue;
      Pack<float, N> xs = norm.source == Source::value_a ? as : bs;
      if (norm.source == Source::memory) xs = norm.operand.finish_raw(fetched.norms[n], i, steps[n]);
      const Pack<float, N> means = term<N>(kMean0 + n, c);
      for (int j = 0; j < N; ++j) sums.gx[n][j] = fmaf(g[j], xs[j] - means[j], sums.gx[n][j]);
    }
  }

 private:
  __device__ void keep_norm(const OperandArrays& operand, int channel, float* scale_and_shift) const {
    if (!operand.has_norm()) return;
    const ChannelNorm norm = ChannelNorm::of(operand.norm, channel);
    scale_and_shift[0] = norm.scale;
    scale_and_shift[pitch] = norm.shift;
  }

  // A term of N channels from c on.
  template <int N>
  __device__ Pack<float, N> term(int which, int c) const {
    constexpr int kOnce = N % 4 == 0 ? 4 : 1;
    Pack<float, N> result;
    for (int i = 0; i < N; i += kOnce) {
      const Pack<float, kOnce> part = load<kOnce>(terms, which * pitch + c + i);
      for (int j = 0; j < kOnce; ++j) result[i + j] = part[j];
    }
    return result;
  }

  template <int N>
  __device__ Pack<float, N> finish(const Pack<float, N>& as, const Pack<float, N>& bs, int c) const {
    const ValueArrays& value = arrays.value;
    ValueArrays::Terms<N> own = {};
    if (value.a.has_norm()) own.scale_a = term<N>(kScaleA, c), own.shift_a = term<N>(kShiftA, c);
    if (value.b.has_norm()) own.scale_b = term<N>(kScaleB, c), own.shift_b = term<N>(kShiftB, c);
    return value.finish(as, bs, own);
  }
};

/// The sum over r < rows of at(r, c), for every column c < columns <= kThreads; complete in thread c. `room` for
/// kThreads numbers.
template <typename At>
__device__ Wide column_sum(int columns, int rows, Wide* room, At&& at) {
  constexpr int kBatch = 8;  // read before the first of them is added
  const int thread = static_cast<int>(threadIdx.x), column = thread % columns, slice = thread / columns,
            slices = kThreads / columns;
  Wide total = {};
  if (slice < slices)
    for (int first = slice; first < rows; first += kBatch * slices) {
      Wide batch[kBatch] = {};
      for (int i = 0; i < kBatch; ++i)
        if (first + i * slices < rows) batch[i] = at(first + i * slices, column);
      for (int i = 0; i < kBatch; ++i) total.add(batch[i]);
    }
  __syncthreads();  // the room may still be read from the last time
  room[thread] = total;
  __syncthreads();
  if (thread < columns)
    for (int s = 1; s < slices; ++s) total.add(room[s * columns + thread]);
  return total;
}

/// Shared memory that finish_value_gradient() needs, in Wide numbers.
template <int N, int kNorms, int kGroups>
inline constexpr int kFinishRoom = ((kThreads + 1) * N * kGroups * (1 + kNorms) + 1) / 2 + kThreads;

/// Ends a kernel whose blocks' threads have places in rows of `width`: place p has summed, for each group g, the
/// channels from first + (g * width + p % width) * N on; those beyond the last full row have sums of 0. The last block
/// of the grid writes the gradients of the batch norms and of alpha.
template <int N, int kNorms, int kGroups>
__device__ void finish_value_gradient(const ValueGradientArrays<kNorms>& gradient,
                                      const ValueSums<N, kNorms> (&own)[kGroups], int channels, int first, int width,
                                      int place, Wide* room, unsigned* ticket) {
  constexpr int kSums = 1 + kNorms;  // of a channel
  const int thread = static_cast<int>(threadIdx.x), chunks = static_cast<int>(gridDim.x), rows = kThreads / width;
  // [group, sum, channel of the thread][place]
  auto* const matrix = reinterpret_cast<float*>(room + kThreads);
  const auto line = [](int group, int sum, int j) { return ((group * kSums + sum) * N + j) * (kThreads + 1); };
  Wide alpha = {};
  __syncthreads();
#pragma unroll
  for (int group = 0; group < kGroups; ++group) {
    for (int j = 0; j < N; ++j) matrix[line(group, 0, j) + place] = own[group].g[j];
    for (int n = 0; n < kNorms; ++n)
      for (int j = 0; j < N; ++j) matrix[line(group, 1 + n, j) + place] = own[group].gx[n][j];
    alpha.add(own[group].alpha);
  }
  __syncthreads();
  const int span = width * N, all = kGroups * kSums * span;  // channels of a group, columns
  for (int begin = 0; begin < all; begin += kThreads) {
    const int columns = min(kThreads, all - begin);
    const Wide total = column_sum(columns, rows, room, [&](int row, int column) {
      const int sum = (begin + column) / span, c = (begin + column) % span;
      return Wide{matrix[line(0, sum, c % N) + row * width + c / N], 0};
    });
    const int sum = (begin + thread) / span, channel = first + sum / kSums * span + (begin + thread) % span;
    if (thread < columns && channel < channels)
      gradient.partial[(int64_t{blockIdx.x} * kSums + sum % kSums) * channels + channel] = total.value();
  }
  alpha = block_sum(alpha);
  if (thread == 0) gradient.alpha_partial[blockIdx.y * gridDim.x + blockIdx.x] = alpha.value();
  if (!last_block(ticket)) return;

  constexpr int kAtOnce = kThreads / kSums;  // channels
  Wide* const totals = room + kThreads;      // [sum, channel]
  for (int begin = 0; begin < channels; begin += kAtOnce) {
    const int count = min(channels - begin, kAtOnce);
    const Wide total = column_sum(kSums * count, chunks, room, [&](int chunk, int column) {
      return gradient.partial[(int64_t{chunk} * kSums + column / count) * channels + begin + column % count];
    });
    totals[thread] = total.value();
    __syncthreads();
    for (int n = 0; n < kNorms; ++n)
      if (gradient.norms[n].source != Source::none && thread / count == n)
        gradient.norms[n].finish(begin + thread % count, totals[thread % count], totals[thread + count]);
  }
  if (!gradient.quantized) return;
  Wide whole = {};
  for (int i = thread; i < static_cast<int>(gridDim.x * gridDim.y); i += kThreads) whole.add(gradient.alpha_partial[i]);
  whole = block_sum(whole);
  if (thread == 0)
    gradient.galpha[0] =
        (whole.value() / (Wide{static_cast<float>(gradient.levels.k), 0} * Wide{gradient.alpha[0], 0})).high;
}

/// Room of the device for the sums of a grid.
template <int kNorms>
struct PartialSums {
  Scratch<Wide> sums, alpha;
  PartialSums(dim3 grid, int64_t channels)
      : sums(size_t{grid.x} * static_cast<size_t>(channels) * (1 + kNorms)), alpha(size_t{grid.x} * grid.y) {}
};

/// Calls f with the number of batch norms that a kernel sums for, 1 or 2.
template <typename F>
void with_norms(const ValueGradient& gradient, F&& f) {
  if (gradient.norms.size() <= 1)
    f(std::integral_constant<int, 1>{});
  else
    f(std::integral_constant<int, 2>{});
}

}  // namespace apotnet::cuda
