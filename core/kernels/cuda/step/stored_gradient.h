#pragma once

#include "core/kernels/cuda/step/value.h"

// Gradients in device memory, bf16 or f32: which of the two is found out at run time, so that a kernel exists once.

namespace apotnet::cuda {

struct GradientInput {
  const float* floats = nullptr;
  const BFloat16* rounded = nullptr;  // both null: no such gradient

  GradientInput() = default;
  explicit GradientInput(const Tensor& tensor) {
    if (!tensor.defined()) return;
    if (tensor.dtype() == DType::bf16)
      rounded = input<BFloat16>(tensor);
    else
      floats = input<float>(tensor);
  }
  __device__ bool defined() const { return floats != nullptr || rounded != nullptr; }
  /// Reads what finish() makes N numbers of, from element i on: floats, or bf16 in the first half of the words.
  template <int N>
  __device__ Pack<Word, N> fetch(int64_t i) const {
    if (floats) return load<N>(reinterpret_cast<const Word*>(floats), i);
    Pack<Word, N> words{};
    const auto packed = load_halves<N>(rounded, i);
    for (int j = 0; j < (N + 1) / 2; ++j) words[j] = packed[j];
    return words;
  }
  template <int N>
  __device__ Pack<float, N> finish(const Pack<Word, N>& fetched) const {
    Pack<float, N> result;
    for (int j = 0; j < N; ++j) {
      if (floats)
        result[j] = float_of(fetched[j]);
      else if (N % 2 == 0)
        result[j] = float_of(j % 2 == 0 ? fetched[j / 2] << 16 : fetched[j / 2] & 0xFFFF0000u);
      else
        result[j] = float_of(fetched[j] << 16);
    }
    return result;
  }
  template <int N>
  __device__ Pack<float, N> at(int64_t i) const {
    return finish<N>(fetch<N>(i));
  }
};

struct GradientOutput {
  float* floats = nullptr;
  BFloat16* rounded = nullptr;

  explicit GradientOutput(Tensor& tensor) {
    if (tensor.dtype() == DType::bf16)
      rounded = output<BFloat16>(tensor);
    else
      floats = output<float>(tensor);
  }
  template <int N>
  __device__ void put(int64_t i, const Pack<float, N>& values) const {
    if (floats) {
      store_whole(floats, i, values);
      return;
    }
    store_rounded(rounded, i, values);
  }
};

/// The gradient in front of a batch norm (NormInputGradient) of one element, from that of its output and from its
/// input.
__device__ inline float norm_input_gradient(float g, float x, float factor, float slope, float constant) {
  return fmaf(g, factor, fmaf(x, slope, constant));
}

/// A [pixels, channels] tensor cut for blocks whose threads keep N channels each and go through pixels. It depends on
/// the shape alone, and so does the order of every sum.
struct PixelCut {
  static constexpr int kBlockChannels = kThreads;  // at most, of a block

  int64_t pixels, chunk;  // of a block
  int channels;
  int width, rows;  // packs of channels and pixels side by side in a block
  int chunks;       // blocks over the pixels

  template <int N>
  static PixelCut of(int64_t pixels, int64_t channels) {
    PixelCut cut{pixels, 0, static_cast<int>(channels), 0, 0, 0};
    cut.width = static_cast<int>(std::min<int64_t>(channels, kBlockChannels)) / N;
    cut.rows = kThreads / cut.width;
    // The last block reads chunks * channels partial sums alone: few where channels are many.
    const int64_t most = std::clamp<int64_t>(32768 / channels, 64, 512);
    cut.chunk = std::max<int64_t>((pixels + most - 1) / most, int64_t{2} * cut.rows);
    cut.chunks = static_cast<int>((pixels + cut.chunk - 1) / cut.chunk);
    return cut;
  }
  template <int N>
  dim3 grid() const {
    return dim3(static_cast<unsigned>(chunks), static_cast<unsigned>((channels / N + width - 1) / width));
  }
};

/// Calls f with 8, or with 1 where packs of 8 channels do not fit: 16 bytes of bf16 or of sums are one load.
template <typename F>
void with_channel_pack(int64_t channels, F&& f) {
  if (channels % 8 == 0)
    f(std::integral_constant<int, 8>{});
  else
    f(std::integral_constant<int, 1>{});
}

}  // namespace apotnet::cuda
