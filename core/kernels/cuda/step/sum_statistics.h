#pragma once

#include "core/kernels/cuda/running_statistics.h"
#include "core/kernels/cuda/step/step_kernels.h"

// Batch statistics from the integers that a convolution sums: exact, so the order of the blocks does not matter.

namespace apotnet::cuda {

/// StatisticsOutput on the device.
struct StatisticsArrays {
  unsigned long long* accumulators;  // of 64-bit integers modulo 2^64
  int channels;
  int64_t count;  // elements of a channel
  float *mean, *variance;
  RunningArrays running;

  StatisticsArrays(StatisticsOutput& statistics, int64_t elements)
      : accumulators(reinterpret_cast<unsigned long long*>(output<int64_t>(statistics.accumulators))),
        channels(static_cast<int>(statistics.mean.elements())),
        count(elements / channels),
        mean(output<float>(statistics.mean)),
        variance(output<float>(statistics.variance)),
        running(statistics.running_mean.defined()
                    ? RunningArrays(count, statistics.momentum, statistics.running_mean, statistics.running_variance)
                    : RunningArrays::none()) {}

  /// Adds to the sum of a channel or of its squares.
  __device__ void add(bool squares, int channel, int64_t part) const {
    atomicAdd(accumulators + (squares ? channels : 0) + channel, static_cast<unsigned long long>(part));
  }

  struct Moments {
    float mean, variance;
  };
  /// Mean and biased variance of sum * step, when everything has been added. Squares are taken about the integer m next
  /// to the mean: what is left of the mean is a fraction, and nothing cancels. Intermediate results may wrap; exact as
  /// long as the squares about m add up to less than 2^63.
  __device__ Moments moments(int channel, float step) const {
    const auto sum = static_cast<int64_t>(accumulators[channel]);
    const unsigned long long squares = accumulators[channels + channel];
    const int64_t m = (sum + (sum < 0 ? -count / 2 : count / 2)) / count, rest = sum - m * count;
    const auto about_m = static_cast<int64_t>(squares - static_cast<unsigned long long>(m) *
                                                            static_cast<unsigned long long>(sum + rest));
    const Wide n = Wide::of_integer(count), fraction = Wide::of_integer(rest) / n, scale{step, 0};
    const Wide batch_mean = (Wide::of_integer(m) + fraction) * scale;
    const Wide batch_variance = (Wide::of_integer(about_m) / n - fraction * fraction) * scale * scale;
    return {batch_mean.high, batch_variance.high < 0 ? 0.0f : batch_variance.high};
  }
  /// Stores them, and updates the running ones.
  __device__ void store(int channel, const Moments& moments) const {
    mean[channel] = moments.mean;
    variance[channel] = moments.variance;
    if (running.defined()) running.update(channel, moments.mean, moments.variance);
  }
  __device__ void clear(int channel) const { accumulators[channel] = accumulators[channels + channel] = 0; }
  __device__ void finish(int channel, float step) const {
    store(channel, moments(channel, step));
    clear(channel);
  }
};

/// Adds up `values` of the 8 lanes that share lane % 4. Every lane gets kCount / 8 of the totals, those of the values
/// from the returned index on, as values[0] and on.
template <int kCount>
__device__ int add_up_rows(int64_t (&values)[kCount]) {
  static_assert(kCount % 8 == 0);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int first = 0, left = kCount;
  for (int flipped = 16; flipped >= 4; flipped /= 2) {
    left /= 2;
    const bool upper = (lane & flipped) != 0;
    for (int i = 0; i < kCount / 2; ++i) {
      if (i >= left) break;
      const int64_t sent = upper ? values[i] : values[left + i], kept = upper ? values[left + i] : values[i];
      values[i] = kept + __shfl_xor_sync(0xFFFFFFFFu, sent, flipped);
    }
    if (upper) first += left;
  }
  return first;
}

}  // namespace apotnet::cuda
