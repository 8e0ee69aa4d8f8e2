#pragma once

#include "core/kernels/cuda/launch.h"

namespace apotnet::cuda {

/// A number of about 48 bits in two floats, high the nearest float to it: as good as a double for what this project
/// sums and rounds, on devices whose doubles are slow. Rounding errors are found exactly (Knuth's sum, a fused
/// multiply-add for products) and kept. Must not be contracted: these files are compiled with -fmad=false.
struct Wide {
  float high, low;

  /// For kernel arguments.
  static Wide of(double value) {
    const auto nearest = static_cast<float>(value);
    return {nearest, static_cast<float>(value - nearest)};
  }

  /// The Wide nearest to an integer: its pieces of 24 bits and less are floats.
  __device__ static Wide of_integer(int64_t value) {
    Wide sum{static_cast<float>(value >> 48) * 0x1p48f, 0};
    sum.add(static_cast<float>(value >> 24 & 0xFFFFFF) * 0x1p24f);
    sum.add(static_cast<float>(value & 0xFFFFFF));
    return sum.value();
  }

  /// As the accumulator of a long sum: high and low are not brought together again, value() does that.
  __device__ void add(float x) {
    const float sum = high + x, part = sum - high;
    low += (high - (sum - part)) + (x - part);
    high = sum;
  }
  __device__ void add_product(float x, float y) {
    const float product = x * y, error = fmaf(x, y, -product);
    add(product);
    low += error;
  }
  __device__ void add(const Wide& other) {
    add(other.high);
    low += other.low;
  }
  __device__ Wide value() const { return together(high, low); }

  /// high + low as a Wide, for |high| >= |low| or nearly so.
  __device__ static Wide together(float high, float low) {
    const float sum = high + low;
    return {sum, low - (sum - high)};
  }
};

__device__ inline Wide operator-(const Wide& a) { return {-a.high, -a.low}; }
__device__ inline Wide operator+(const Wide& a, const Wide& b) {
  Wide sum = a;
  sum.add(b);
  return sum.value();
}
__device__ inline Wide operator-(const Wide& a, const Wide& b) { return a + -b; }
__device__ inline Wide operator*(const Wide& a, const Wide& b) {
  const float product = a.high * b.high, error = fmaf(a.high, b.high, -product);
  return Wide::together(product, error + (a.high * b.low + a.low * b.high));
}
__device__ inline Wide operator/(const Wide& a, const Wide& b) {
  const float first = a.high / b.high;
  const Wide rest = a - b * Wide{first, 0}, second{rest.high / b.high, 0};
  const Wide last = rest - b * second;
  return Wide::together(first, second.high) + Wide{last.high / b.high, 0};
}
__device__ inline Wide square_root(const Wide& a) {
  const float root = sqrtf(a.high);
  if (!(root > 0)) return {root, 0};
  const Wide rest = a - Wide{root, 0} * Wide{root, 0};
  return Wide::together(root, rest.high / (2 * root));
}

/// The sum over the threads of the block, in a fixed order; complete in thread 0.
__device__ inline Wide block_sum(Wide own) {
  constexpr int kWarps = kThreads / 32;
  SHARED_ARRAY(Wide, warp_sums, kWarps);
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  for (unsigned step = 16; step > 0; step /= 2) {
    const Wide other{__shfl_down_sync(0xFFFFFFFFu, own.high, step), __shfl_down_sync(0xFFFFFFFFu, own.low, step)};
    own.add(other);
  }
  __syncthreads();  // the array may still be read from the last time
  if (lane == 0) warp_sums[warp] = own;
  __syncthreads();
  if (threadIdx.x == 0)
    for (int i = 1; i < kWarps; ++i) own.add(warp_sums[i]);
  return own;
}

/// True in every thread of the block that ends last of the `blocks` that share a ticket, and what the others wrote is
/// seen there. All threads of these blocks must call it once for each ticket.
__device__ inline bool last_block(unsigned* ticket, unsigned blocks) {
  SHARED_ARRAY(unsigned, place, 1);
  __syncthreads();
  if (threadIdx.x == 0) {  // its fences hold for the whole block, between the barriers
    __threadfence();
    place[0] = atomicInc(ticket, blocks - 1);  // back to 0 with the last
    __threadfence();
  }
  __syncthreads();
  return place[0] == blocks - 1;
}
/// The same of the grid.
__device__ inline bool last_block(unsigned* ticket) { return last_block(ticket, gridDim.x * gridDim.y); }

}  // namespace apotnet::cuda
