#pragma once

#include "core/kernels/codes.h"
#include "core/kernels/cuda/levels.h"

// What follows the sums of a convolution (core/kernels/codes.h), handed to a kernel as an object:
//
//   prepare(tables)                     all threads, once, a barrier must follow; `tables` is kTables * kTableSize
//                                       bytes of shared memory
//   channels<N>(channel)                what a thread keeps of N channels
//   finish<N>(tables, pixel, channel, channels, sums)
//                                       of N neighbouring channels of one pixel, `pixel` its place in [N, OH, OW]

namespace apotnet::cuda {

/// The table of half steps into shared memory: two bytes a thread.
__device__ inline void copy_table(const uint8_t* from, uint8_t* table) {
  static_assert(kTableSize == 2 * kThreads);
  const auto i = static_cast<int64_t>(threadIdx.x) * 2;
  store(table, i, load<2>(from, i));
}

template <typename T>
const T* input_or_null(const Tensor& tensor) {
  return tensor.defined() ? input<T>(tensor) : nullptr;
}

/// Whether an array that a kernel reads or writes may be accessed 16 bytes at a time.
inline bool aligned(const void* place) { return reinterpret_cast<uintptr_t>(place) % 16 == 0; }

/// Through thresholds to codes.
class ToCodes {
 public:
  static constexpr int kTables = 1;

  ToCodes(const ChannelThresholds& t, Tensor& codes)
      : thresholds_(input<int32_t>(t.values)),
        rising_(input<uint8_t>(t.rising)),
        levels_(input<uint8_t>(t.levels)),
        count_(static_cast<int>(t.values.size(1))),
        factor_(input_or_null<float>(t.factor)),
        offset_(input_or_null<float>(t.offset)),
        table_(input_or_null<uint8_t>(t.table)),
        top_(static_cast<float>(t.top)),
        codes_(output<uint8_t>(codes)),
        stride_(static_cast<int>(codes.size(3))) {}

  /// Whether N channels may be finished together.
  bool takes(int64_t n) const {
    return n == 1 || (stride_ % n == 0 && aligned(factor_) && aligned(offset_) && aligned(codes_));
  }

  __device__ void prepare(uint8_t* tables) const {
    if (factor_) copy_table(table_, tables);
  }
  template <int N>
  struct Channels {
    Pack<float, N> factor, offset;
  };
  template <int N>
  __device__ Channels<N> channels(int channel) const {
    if (!factor_) return {};
    return {load<N>(factor_, channel), load<N>(offset_, channel)};
  }
  template <int N>
  __device__ void finish(const uint8_t* tables, int64_t pixel, int channel, const Channels<N>& terms,
                         const Pack<int32_t, N>& sums) const {
    Pack<uint8_t, N> codes;
    for (int i = 0; i < N; ++i) {
      if (factor_) {
        const float m = fmaf(static_cast<float>(sums[i]), terms.factor[i], terms.offset[i]);
        codes[i] = tables[static_cast<int>(fminf(fmaxf(m, 0.0f), top_))];
      } else {
        codes[i] = search(channel + i, sums[i]);
      }
    }
    store(codes_, pixel * stride_ + channel, codes);
  }

 private:
  __device__ uint8_t search(int channel, int32_t sum) const {
    const int32_t* own = thresholds_ + int64_t{channel} * count_;
    int first = 0, end = count_;  // the thresholds before first are reached, those from end on are not
    while (first < end) {
      const int middle = (first + end) / 2;
      if (own[middle] <= sum)
        first = middle + 1;
      else
        end = middle;
    }
    return levels_[rising_[channel] ? first : count_ - first];
  }

  const int32_t* thresholds_;
  const uint8_t *rising_, *levels_;
  int count_;
  const float *factor_, *offset_;
  const uint8_t* table_;
  float top_;
  uint8_t* codes_;
  int stride_;
};

/// To float values, and codes of these.
class ToValues {
 public:
  static constexpr int kTables = 2;

  ToValues(const ValueTerms& terms, int64_t channels, ValuesOutput& out)
      : step_(terms.step),
        scale_(input_or_null<float>(terms.scale)),
        shift_(input_or_null<float>(terms.shift)),
        shortcut_(input_or_null<float>(terms.shortcut)),
        relu_(terms.relu),
        channels_(static_cast<int>(channels)),
        values_(out.values.defined() ? output<float>(out.values) : nullptr),
        quantizers_{},
        count_(static_cast<int>(out.codes.size())) {
    require(count_ <= 2, "values with more than two quantizers");
    for (int i = 0; i < count_; ++i) quantizers_[i] = Quantizer(out.codes[static_cast<size_t>(i)]);
  }

  bool takes(int64_t n) const {
    if (n == 1) return true;
    for (const Quantizer& quantizer : quantizers_)
      if (quantizer.stride % n != 0 || !aligned(quantizer.codes)) return false;
    return channels_ % n == 0 && aligned(scale_) && aligned(shift_) && aligned(shortcut_) && aligned(values_);
  }

  __device__ void prepare(uint8_t* tables) const {
    for (int i = 0; i < kTables; ++i)
      if (i < count_) copy_table(quantizers_[i].table, tables + i * kTableSize);
  }
  template <int N>
  struct Channels {
    Pack<float, N> scale, shift;
  };
  template <int N>
  __device__ Channels<N> channels(int channel) const {
    if (!scale_) return {};
    return {load<N>(scale_, channel), load<N>(shift_, channel)};
  }
  template <int N>
  __device__ void finish(const uint8_t* tables, int64_t pixel, int channel, const Channels<N>& terms,
                         const Pack<int32_t, N>& sums) const {
    Pack<float, N> y;
    for (int i = 0; i < N; ++i) y[i] = static_cast<float>(sums[i]) * step_;
    finish(tables, pixel, channel, terms, y);
  }
  template <int N>
  __device__ void finish(const uint8_t* tables, int64_t pixel, int channel, const Channels<N>& terms,
                         const Pack<float, N>& y) const {
    const int64_t place = pixel * channels_ + channel;
    Pack<float, N> values = y;
    if (scale_)
      for (int i = 0; i < N; ++i) values[i] = values[i] * terms.scale[i] + terms.shift[i];
    if (shortcut_) {
      const Pack<float, N> other = load<N>(shortcut_, place);
      for (int i = 0; i < N; ++i) values[i] += other[i];
    }
    if (relu_)
      for (int i = 0; i < N; ++i) values[i] = values[i] < 0 ? 0.0f : values[i];
    if (values_) store(values_, place, values);
    for (int i = 0; i < kTables; ++i)
      if (i < count_) quantizers_[i].template store_codes<N>(tables + i * kTableSize, pixel, channel, values);
  }

 private:
  struct Quantizer {
    const uint8_t* table;
    float alpha;
    int k;
    bool ties_to_lower, has_sign;
    uint8_t* codes;
    int stride;

    Quantizer() : table(nullptr), alpha(1), k(1), ties_to_lower(false), has_sign(false), codes(nullptr), stride(0) {}
    explicit Quantizer(CodesOutput& out)
        : table(input<uint8_t>(out.table)),
          alpha(out.alpha),
          k(out.k),
          ties_to_lower(out.ties_to_lower),
          has_sign(out.codes.dtype() == DType::s8),
          codes(has_sign ? reinterpret_cast<uint8_t*>(output<int8_t>(out.codes)) : output<uint8_t>(out.codes)),
          stride(static_cast<int>(out.codes.size(3))) {}

    template <int N>
    __device__ void store_codes(const uint8_t* shared_table, int64_t pixel, int channel,
                                const Pack<float, N>& values) const {
      Pack<uint8_t, N> result;
      for (int i = 0; i < N; ++i) {
        const float z = values[i] / alpha, wanted = has_sign ? fabsf(z) : z;
        const float clamped = wanted > 0 ? fminf(wanted, 1.0f) : 0.0f;  // a NaN takes level 0
        const uint8_t code = shared_table[half_steps(clamped, k, ties_to_lower)];
        result[i] = has_sign && z < 0 ? static_cast<uint8_t>(0 - code) : code;
      }
      store(codes, pixel * stride + channel, result);
    }
  };

  float step_;
  const float *scale_, *shift_, *shortcut_;
  bool relu_;
  int channels_;
  float* values_;
  Quantizer quantizers_[kTables];
  int count_;
};

}  // namespace apotnet::cuda
