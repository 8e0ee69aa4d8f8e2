#pragma once

#include "core/kernels/cuda/channel_sums.h"
#include "core/kernels/fused.h"

namespace apotnet::cuda {

/// A batch norm on the device: addresses in place of tensors.
struct NormArrays {
  const float *mean, *variance, *gamma, *beta;
  Wide epsilon;
  bool constant_statistics;

  explicit NormArrays(const BatchNormTerms& norm)
      : mean(input<float>(norm.mean)),
        variance(input<float>(norm.variance)),
        gamma(input<float>(norm.gamma)),
        beta(norm.beta.defined() ? input<float>(norm.beta) : nullptr),
        epsilon(Wide::of(norm.epsilon)),
        constant_statistics(norm.constant_statistics) {}
  static NormArrays none() { return NormArrays(); }

 private:
  NormArrays()
      : mean(nullptr), variance(nullptr), gamma(nullptr), beta(nullptr), epsilon{}, constant_statistics(true) {}
};

/// What a pass needs of a channel: scale and shift of batch norm, each rounded once (F10), and the mean.
struct ChannelNorm {
  float scale, shift, mean;

  __device__ static ChannelNorm of(const NormArrays& norm, int c) {
    return of(norm.mean[c], norm.variance[c], norm.gamma[c], norm.beta ? norm.beta[c] : 0.0f, norm.epsilon);
  }
  __device__ static ChannelNorm of(float mean, float variance, float gamma, float beta, const Wide& epsilon) {
    const Wide scale = Wide{gamma, 0} / square_root(Wide{variance, 0} + epsilon);
    return {scale.high, (Wide{beta, 0} - Wide{mean, 0} * scale).high, mean};
  }
  __device__ float apply(float x) const { return x * scale + shift; }
  __device__ float relu(float x) const {
    const float y = apply(x);
    return y < 0 ? 0.0f : y;
  }
};

/// gx = g * factor + (x * slope + constant): the gradient of batch norm (F11), three numbers per channel.
struct ChannelGradient {
  float factor, slope, constant;
};

/// Turns the sums of g and of g * (x - mean) into the gradients of gamma and beta and the numbers above. The sum over
/// the whole tensor, where there is one, is that of alpha's gradient times K alpha.
template <bool kHasWhole>
struct FinishNormGradient {
  static constexpr bool kWhole = kHasWhole;
  NormArrays norm;
  Wide count;
  float *ggamma, *gbeta;
  ChannelGradient* gradients;
  const float* alpha;
  float k;
  float* galpha;

  struct Found {
    float ggamma, gbeta;
    ChannelGradient gradient;
  };
  __device__ Found of(int c, const Wide& sum_g, const Wide& sum_gx) const {
    const Wide inverse_std = Wide{1, 0} / square_root(Wide{norm.variance[c], 0} + norm.epsilon);
    const Wide factor = Wide{norm.gamma[c], 0} * inverse_std;
    Wide slope = {}, constant = {};
    if (!norm.constant_statistics) {
      slope = -factor * inverse_std * inverse_std * sum_gx / count;
      constant = -factor * sum_g / count - slope * Wide{norm.mean[c], 0};
    }
    return {(sum_gx * inverse_std).high, sum_g.high, {factor.high, slope.high, constant.high}};
  }
  __device__ void store(int c, const Found& found) const {
    ggamma[c] = found.ggamma;
    gbeta[c] = found.gbeta;
    gradients[c] = found.gradient;
  }
  __device__ void operator()(int c, const Wide& sum_g, const Wide& sum_gx) const { store(c, of(c, sum_g, sum_gx)); }
  __device__ void whole(const Wide& sum) const {
    if constexpr (kHasWhole) galpha[0] = (sum / (Wide{k, 0} * Wide{alpha[0], 0})).high;
  }
};

/// The channels that a pass over elements keeps in shared memory.
inline constexpr int kMostChannels = 2048;

inline void require_channels(int64_t channels) {
  require(channels <= kMostChannels, "a CUDA kernel got ", channels, " channels; at most ", kMostChannels);
}

}  // namespace apotnet::cuda
