// Gradients of batch norm and of what is fused to it: a pass that sums, and one that applies the sums.
#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/norm_terms.h"

namespace apotnet::cuda {
namespace {

// Which part of the gradient g reaches the batch norm's output, for one element.
struct NoMask {
  __device__ float kept(const ChannelNorm&, float g, float, int64_t) const { return g; }
};
struct ReluMask {
  __device__ float kept(const ChannelNorm& norm, float g, float x, int64_t) const {
    return norm.relu(x) > 0 ? g : 0.0f;
  }
};
struct OutputMask {
  const float* y;
  __device__ float kept(const ChannelNorm&, float g, float, int64_t i) const { return y[i] > 0 ? g : 0.0f; }
};
struct ClipMask {
  const float* alpha;
  __device__ float kept(const ChannelNorm& norm, float g, float x, int64_t) const {
    const float y = norm.relu(x), below_limit = y > alpha[0] ? 0.0f : g;
    return y > 0 ? below_limit : 0.0f;
  }
};

// Sums of the kept gradient and of its products with x - mean.
template <int N, typename Mask>
struct GradientTerm {
  static constexpr bool kWhole = false;
  using Prepared = ChannelNorm;
  NormArrays arrays;
  const float *g, *x;
  Mask mask;
  float* masked;  // where the kept gradient goes, or null

  __device__ Prepared prepare(int channel) const { return ChannelNorm::of(arrays, channel); }
  __device__ void add(int64_t i, const Prepared* norm, ChannelSums* sums, Wide&) const {
    const Pack<float, N> gs = load<N>(g, i), xs = load<N>(x, i);
    Pack<float, N> kept;
    for (int j = 0; j < N; ++j) {
      kept[j] = mask.kept(norm[j], gs[j], xs[j], i + j);
      sums[j].a.add(kept[j]);
      sums[j].b.add_product(kept[j], xs[j] - norm[j].mean);
    }
    if (masked) store(masked, i, kept);
  }
};

// The same behind a quantizer, and alpha's gradient times K alpha: g * (K alpha above the clip, else code alpha - y K).
template <int N, typename Code>
struct QuantizedGradientTerm {
  static constexpr bool kWhole = true;
  using Prepared = ChannelNorm;
  NormArrays arrays;
  const float *g, *x;
  ClipMask mask;
  const Code* codes;
  float k;

  __device__ Prepared prepare(int channel) const { return ChannelNorm::of(arrays, channel); }
  __device__ void add(int64_t i, const Prepared* norm, ChannelSums* sums, Wide& whole) const {
    const Pack<float, N> gs = load<N>(g, i), xs = load<N>(x, i);
    const Pack<Code, N> cs = load<N>(codes, i);
    const float alpha = mask.alpha[0];
    for (int j = 0; j < N; ++j) {
      const float y = norm[j].relu(xs[j]), kept = mask.kept(norm[j], gs[j], xs[j], i + j);
      sums[j].a.add(kept);
      sums[j].b.add_product(kept, xs[j] - norm[j].mean);
      whole.add_product(gs[j], y > alpha ? k * alpha : static_cast<float>(cs[j]) * alpha - y * k);
    }
  }
};

template <int N, typename Mask>
__global__ void __launch_bounds__(kThreads)
    apply_gradient_kernel(int64_t packs, int channels, NormArrays arrays, const ChannelGradient* gradients,
                          const float* x, const float* g, float* gx, Mask mask) {
  SHARED_ARRAY(ChannelNorm, norm, kMostChannels);
  for (int c = static_cast<int>(threadIdx.x); c < channels; c += kThreads) norm[c] = ChannelNorm::of(arrays, c);
  __syncthreads();
  for_each_index(packs, [&](int64_t p) {
    const int64_t i = p * N;
    const int first = static_cast<int>(i % channels);
    const Pack<float, N> gs = load<N>(g, i), xs = load<N>(x, i);
    Pack<float, N> result;
    for (int j = 0; j < N; ++j) {
      const ChannelGradient c = gradients[first + j];
      result[j] = mask.kept(norm[first + j], gs[j], xs[j], i + j) * c.factor + (xs[j] * c.slope + c.constant);
    }
    store(gx, i, result);
  });
}

struct Shapes {
  int64_t elements, channels, pixels;
  explicit Shapes(const Tensor& x, const Tensor& mean)
      : elements(x.elements()), channels(mean.elements()), pixels(elements / channels) {
    require_channels(channels);
  }
};

template <bool kHasWhole>
FinishNormGradient<kHasWhole> finish(const Shapes& shapes, const BatchNormTerms& norm, Tensor& ggamma, Tensor& gbeta,
                                     Scratch<ChannelGradient>& gradients) {
  return {NormArrays(norm),
          Wide::of(static_cast<double>(shapes.pixels)),
          output<float>(ggamma),
          output<float>(gbeta),
          gradients.data(),
          nullptr,
          0,
          nullptr};
}

template <typename Mask>
void apply(const Shapes& shapes, const Tensor& x, const BatchNormTerms& norm, const Mask& mask,
           Scratch<ChannelGradient>& gradients, const Tensor& g, Tensor& gx) {
  with_pack(shapes.channels, [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    const int64_t packs = shapes.elements / N;
    launch({"norm gradient", 2 * x.bytes(), gx.bytes()}, apply_gradient_kernel<N, Mask>,
           std::min(blocks_for(packs), 1024u), packs, static_cast<int>(shapes.channels), NormArrays(norm),
           gradients.data(), input<float>(x), input<float>(g), output<float>(gx), mask);
  });
}

// Both passes. Where `masked` is given the kept gradient is stored there by the first and read by the second.
template <typename Mask>
void norm_gradient(const Tensor& x, const BatchNormTerms& norm, const Mask& mask, const Tensor& g, Tensor& gx,
                   Tensor& ggamma, Tensor& gbeta, Tensor* masked = nullptr) {
  const Shapes shapes(x, norm.mean);
  Scratch<ChannelGradient> gradients(static_cast<size_t>(shapes.channels));
  with_pack(shapes.channels, [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    launch_sums<N>({"norm gradient sums", 2 * x.bytes(), masked ? g.bytes() : 0}, shapes.pixels, shapes.channels,
                   GradientTerm<N, Mask>{NormArrays(norm), input<float>(g), input<float>(x), mask,
                                         masked ? output<float>(*masked) : nullptr},
                   finish<false>(shapes, norm, ggamma, gbeta, gradients));
  });
  if (masked)
    apply(shapes, x, norm, NoMask{}, gradients, *masked, gx);
  else
    apply(shapes, x, norm, mask, gradients, g, gx);
}

template <typename Code>
void quantized_gradient(const Tensor& x, const BatchNormTerms& norm, const Tensor& alpha, const Quantized& out,
                        Tensor& g, Tensor& ggamma, Tensor& gbeta, Tensor& galpha) {
  const Shapes shapes(x, norm.mean);
  Scratch<ChannelGradient> gradients(static_cast<size_t>(shapes.channels));
  const ClipMask mask{input<float>(alpha)};
  auto finish_all = finish<true>(shapes, norm, ggamma, gbeta, gradients);
  finish_all.alpha = mask.alpha;
  finish_all.k = static_cast<float>(out.levels->k());
  finish_all.galpha = output<float>(galpha);
  with_pack(shapes.channels, [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    launch_sums<N>({"norm quantize gradient sums", 2 * x.bytes() + out.codes.bytes(), 0}, shapes.pixels,
                   shapes.channels,
                   QuantizedGradientTerm<N, Code>{NormArrays(norm), input<float>(g), input<float>(x), mask,
                                                  input<Code>(out.codes), finish_all.k},
                   finish_all);
  });
  apply(shapes, x, norm, mask, gradients, g, g);
}

}  // namespace

void CudaNorm::batch_norm_backward(const Tensor& gy, const Tensor& x, const Tensor& mean, const Tensor& variance,
                                   const Tensor& gamma, double epsilon, Tensor& gx, Tensor& ggamma,
                                   Tensor& gbeta) const {
  norm_gradient(x, {mean, variance, gamma, {}, epsilon, false}, NoMask{}, gy, gx, ggamma, gbeta);
}

void CudaNorm::batch_norm_eval_backward(const Tensor& gy, const Tensor& x, const Tensor& mean, const Tensor& variance,
                                        const Tensor& gamma, double epsilon, Tensor& gx, Tensor& ggamma,
                                        Tensor& gbeta) const {
  norm_gradient(x, {mean, variance, gamma, {}, epsilon, true}, NoMask{}, gy, gx, ggamma, gbeta);
}

void CudaFused::norm_relu_backward(const Tensor& x, const BatchNormTerms& norm, Tensor& g, Tensor& ggamma,
                                   Tensor& gbeta) const {
  norm_gradient(x, norm, ReluMask{}, g, g, ggamma, gbeta);
}

void CudaFused::norm_add_relu_backward(const Tensor& x, const Tensor& y, const BatchNormTerms& norm, Tensor& g,
                                       Tensor& gx, Tensor& ggamma, Tensor& gbeta) const {
  norm_gradient(x, norm, OutputMask{input<float>(y)}, g, gx, ggamma, gbeta, &g);
}

void CudaFused::norm_relu_quantize_backward(const Tensor& x, const BatchNormTerms& norm, const Tensor& alpha,
                                            const Quantized& out, Tensor& g, Tensor& ggamma, Tensor& gbeta,
                                            Tensor& galpha) const {
  if (out.exact())
    quantized_gradient<uint8_t>(x, norm, alpha, out, g, ggamma, gbeta, galpha);
  else
    quantized_gradient<float>(x, norm, alpha, out, g, ggamma, gbeta, galpha);
}

}  // namespace apotnet::cuda
