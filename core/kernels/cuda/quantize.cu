#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/levels.h"
#include "core/kernels/cuda/total_sums.h"

namespace apotnet::cuda {
namespace {

// Codes of x (F5 where signed, F7 where not).
template <int N, typename Code, bool kSigned>
__global__ void __launch_bounds__(kThreads) quantize_kernel(int64_t packs, const float* x, const float* alpha,
                                                            Code* codes, float* step, int* trouble, Levels levels) {
  SHARED_ARRAY(uint8_t, table, kTableSize);
  if constexpr (sizeof(Code) == 1) fill_table(levels, table);
  store_step(alpha, levels, step, trouble);
  __syncthreads();
  const float a = alpha[0];
  for_each_index(packs, [&](int64_t i) {
    const Pack<float, N> xs = load<N>(x, i * N);
    Pack<Code, N> result;
    for (int j = 0; j < N; ++j) {
      const float z = xs[j] / a;
      result[j] = kSigned ? project_signed<Code>(z, levels, table) : project<Code>(z, levels, table);
    }
    store(codes, i * N, result);
  });
}

template <typename Code, bool kSigned>
void quantize(const char* name, const Tensor& x, const Tensor& alpha, Quantized& out) {
  const int64_t count = x.elements();
  with_pack(aligned_count(count, {&x, &out.codes}), [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    launch({name, x.bytes(), out.codes.bytes()}, quantize_kernel<N, Code, kSigned>,
           std::min(blocks_for(count / N), 1024u), count / N, input<float>(x), input<float>(alpha),
           output<Code>(out.codes), output<float>(out.step), Context::get().trouble(), Levels(*out.levels));
  });
}

struct FinishAlpha {
  float* galpha;
  __device__ void operator()(const Wide& sum, const Wide&) const { galpha[0] = sum.high; }
};

// F6.
template <int N, typename Code>
struct SignedGradient {
  const float *g, *w_hat, *alpha;
  const Code* codes;
  float k;
  bool clips;
  float* gw;

  __device__ void operator()(int64_t i, ChannelSums& sums) const {
    const Pack<float, N> gs = load<N>(g, i), ws = load<N>(w_hat, i);
    const Pack<Code, N> cs = load<N>(codes, i);
    const float a = alpha[0];
    Pack<float, N> result;
    for (int j = 0; j < N; ++j) {
      const float z = ws[j] / a;
      result[j] = clips && fabsf(z) > 1 ? 0.0f : gs[j];
      sums.a.add_product(gs[j], signed_alpha_factor(z, static_cast<float>(cs[j]), k));
    }
    store(gw, i, result);
  }
};

// F8.
template <int N, typename Code>
struct UnsignedGradient {
  const float *g, *x, *alpha;
  const Code* codes;
  float k;
  bool clips_below, adds;
  float* gx;

  __device__ void operator()(int64_t i, ChannelSums& sums) const {
    const Pack<float, N> gs = load<N>(g, i), xs = load<N>(x, i);
    const Pack<Code, N> cs = load<N>(codes, i);
    const float a = alpha[0];
    Pack<float, N> result{};
    if (adds) result = load<N>(gx, i);
    for (int j = 0; j < N; ++j) {
      const float z = xs[j] / a;
      const bool above = z > 1, below = clips_below && z < 0;
      const float kept = above || below ? 0.0f : gs[j];
      result[j] = adds ? result[j] + kept : kept;
      sums.a.add_product(gs[j], above ? 1.0f : below ? 0.0f : static_cast<float>(cs[j]) / k - z);
    }
    store(gx, i, result);
  }
};

// F16.
template <int N>
struct ClippedGradient {
  const float *g, *x, *alpha;
  bool has_sign;

  __device__ void operator()(int64_t i, ChannelSums& sums) const {
    const Pack<float, N> gs = load<N>(g, i), xs = load<N>(x, i);
    const float a = alpha[0];
    for (int j = 0; j < N; ++j) {
      const float z = xs[j] / a;
      if (z > 1) sums.a.add(gs[j]);
      if (has_sign && z < -1) sums.a.add(-gs[j]);
    }
  }
};

template <typename Code>
void signed_gradient(const Tensor& g, const Tensor& w_hat, const Tensor& alpha, const Quantized& out, bool clips,
                     Tensor& gw, Tensor& galpha) {
  with_pack(aligned_count(g.elements(), {&g, &w_hat, &out.codes, &gw}), [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    launch_total<N>(
        {"quantize weight gradient", 2 * g.bytes() + out.codes.bytes(), gw.bytes()}, g.elements(),
        SignedGradient<N, Code>{input<float>(g), input<float>(w_hat), input<float>(alpha), input<Code>(out.codes),
                                static_cast<float>(out.levels->k()), clips, output<float>(gw)},
        FinishAlpha{output<float>(galpha)});
  });
}

template <typename Code>
void unsigned_gradient(const Tensor& g, const Tensor& x, const Tensor& alpha, const Quantized& out, bool clips_below,
                       bool adds, Tensor& gx, Tensor& galpha) {
  with_pack(aligned_count(g.elements(), {&g, &x, &out.codes, &gx}), [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    const size_t reads = (adds ? 3 : 2) * g.bytes() + out.codes.bytes();
    launch_total<N>(
        {"quantize gradient", reads, gx.bytes()}, g.elements(),
        UnsignedGradient<N, Code>{input<float>(g), input<float>(x), input<float>(alpha), input<Code>(out.codes),
                                  static_cast<float>(out.levels->k()), clips_below, adds, output<float>(gx)},
        FinishAlpha{output<float>(galpha)});
  });
}

template <typename Code>
__global__ void __launch_bounds__(kThreads)
    dequantize_kernel(int64_t count, const Code* codes, const float* step, float* values) {
  for_each_index(count, [&](int64_t i) { values[i] = static_cast<float>(codes[i]) * step[0]; });
}

// The larger one; of a NaN and a number the one that stands first.
__device__ float larger(float a, float b) { return a < b ? b : a; }

// Of all threads of the block, for its first thread.
__device__ float block_largest(float own) {
  SHARED_ARRAY(float, found, kThreads);
  found[threadIdx.x] = own;
  for (unsigned half = kThreads / 2; half > 0; half /= 2) {
    __syncthreads();
    if (threadIdx.x < half) found[threadIdx.x] = larger(found[threadIdx.x], found[threadIdx.x + half]);
  }
  return found[threadIdx.x];
}

// Each block finds its largest, and the last one the largest of those.
__global__ void __launch_bounds__(kThreads)
    largest_kernel(int64_t count, const float* w, bool of_magnitudes, float* of_blocks, float* largest, int* trouble,
                   unsigned* ticket) {
  const auto value = [&](int64_t i) { return of_magnitudes ? fabsf(w[i]) : w[i]; };
  float own = value(0);
  for_each_index(count, [&](int64_t i) { own = larger(own, value(i)); });
  own = block_largest(own);
  if (threadIdx.x == 0) of_blocks[blockIdx.x] = own;
  if (!last_block(ticket)) return;
  own = of_blocks[0];
  for (unsigned i = threadIdx.x; i < gridDim.x; i += kThreads) own = larger(own, of_blocks[i]);
  own = block_largest(own);
  if (threadIdx.x != 0) return;
  largest[0] = own;
  if (own == 0 || !isfinite(own)) *trouble = 1;
}

__global__ void __launch_bounds__(kThreads)
    round_kernel(int64_t count, const float* w, const float* largest, bool rounds, float* out) {
  const float m = largest[0];
  for_each_index(count, [&](int64_t i) { out[i] = rounds ? rintf(w[i] / m * 127) / 127 * m : w[i]; });
}

}  // namespace

void CudaQuantize::quantize_weight(const Tensor& w_hat, const Tensor& alpha, Quantized& out) const {
  if (out.exact())
    quantize<int8_t, true>("quantize weight", w_hat, alpha, out);
  else
    quantize<float, true>("quantize weight", w_hat, alpha, out);
}

void CudaQuantize::quantize_weight_backward(const Tensor& g, const Tensor& w_hat, const Tensor& alpha,
                                            const Quantized& out, QuantizerVariant variant, Tensor& gw,
                                            Tensor& galpha) const {
  const bool clips = variant == QuantizerVariant::imagenet && out.levels->method() != LevelMethod::ternary;
  if (out.exact())
    signed_gradient<int8_t>(g, w_hat, alpha, out, clips, gw, galpha);
  else
    signed_gradient<float>(g, w_hat, alpha, out, clips, gw, galpha);
}

void CudaQuantize::quantize_activation(const Tensor& x, const Tensor& alpha, Quantized& out) const {
  if (out.exact())
    quantize<uint8_t, false>("quantize", x, alpha, out);
  else
    quantize<float, false>("quantize", x, alpha, out);
}

void CudaQuantize::quantize_activation_backward(const Tensor& g, const Tensor& x, const Tensor& alpha,
                                                const Quantized& out, QuantizerVariant variant, bool adds, Tensor& gx,
                                                Tensor& galpha) const {
  const bool clips_below = variant == QuantizerVariant::imagenet;
  if (out.exact())
    unsigned_gradient<uint8_t>(g, x, alpha, out, clips_below, adds, gx, galpha);
  else
    unsigned_gradient<float>(g, x, alpha, out, clips_below, adds, gx, galpha);
}

void CudaQuantize::clipped_gradient(const Tensor& g, const Tensor& x, const Tensor& alpha, bool has_sign,
                                    Tensor& galpha) const {
  with_pack(aligned_count(g.elements(), {&g, &x}), [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    launch_total<N>({"clipped gradient", 2 * g.bytes(), 4}, g.elements(),
                    ClippedGradient<N>{input<float>(g), input<float>(x), input<float>(alpha), has_sign},
                    FinishAlpha{output<float>(galpha)});
  });
}

void CudaQuantize::dequantize(const Quantized& q, Tensor& values) const {
  const auto run = [&]<typename Code>(Code) {
    launch({"dequantize", q.codes.bytes(), values.bytes()}, dequantize_kernel<Code>, blocks_for(values.elements()),
           values.elements(), input<Code>(q.codes), input<float>(q.step), output<float>(values));
  };
  switch (q.codes.dtype()) {
    case DType::u8:
      return run(uint8_t{});
    case DType::s8:
      return run(int8_t{});
    default:
      return run(float{});
  }
}

void CudaQuantize::round_to_8bit(const Tensor& w, FirstLastRule rule, Tensor& out, Tensor& largest) const {
  const unsigned blocks = std::min(blocks_for((w.elements() + 7) / 8), 512u);
  Scratch<float> of_blocks(blocks);
  launch({"largest weight", w.bytes(), 4}, largest_kernel, blocks, w.elements(), input<float>(w),
         rule != FirstLastRule::apot_compat, of_blocks.data(), output<float>(largest), Context::get().trouble(),
         Context::get().ticket());
  launch({"round to 8 bit", w.bytes(), out.bytes()}, round_kernel, blocks_for(w.elements()), w.elements(),
         input<float>(w), input<float>(largest), rule != FirstLastRule::none, output<float>(out));
}

}  // namespace apotnet::cuda
