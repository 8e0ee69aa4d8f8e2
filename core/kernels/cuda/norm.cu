// Passes of batch norm, and what stands between two convolutions (fused.h), over elements: forward.
#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/levels.h"
#include "core/kernels/cuda/norm_terms.h"

namespace apotnet::cuda {
namespace {

// What becomes of the normalised value: begin() once for the block, then put() stores N results at element i. The
// table lies in shared memory.
struct PlainOut {
  float* y;
  __device__ void begin(uint8_t*) const {}
  template <int N>
  __device__ void put(const ChannelNorm* norm, int64_t i, const Pack<float, N>& x, const uint8_t*) const {
    Pack<float, N> result;
    for (int j = 0; j < N; ++j) result[j] = norm[j].apply(x[j]);
    store(y, i, result);
  }
};
struct ReluOut {
  float* y;
  __device__ void begin(uint8_t*) const {}
  template <int N>
  __device__ void put(const ChannelNorm* norm, int64_t i, const Pack<float, N>& x, const uint8_t*) const {
    Pack<float, N> result;
    for (int j = 0; j < N; ++j) result[j] = norm[j].relu(x[j]);
    store(y, i, result);
  }
};
struct AddReluOut {
  const float* shortcut;
  float* y;
  __device__ void begin(uint8_t*) const {}
  template <int N>
  __device__ void put(const ChannelNorm* norm, int64_t i, const Pack<float, N>& x, const uint8_t*) const {
    const Pack<float, N> other = load<N>(shortcut, i);
    Pack<float, N> result;
    for (int j = 0; j < N; ++j) {
      const float sum = norm[j].apply(x[j]) + other[j];
      result[j] = sum < 0 ? 0.0f : sum;
    }
    store(y, i, result);
  }
};
template <typename Code>
struct QuantizeOut {
  const float* alpha;
  Code* codes;
  float* step;
  int* trouble;
  Levels levels;

  __device__ void begin(uint8_t* table) const {
    if constexpr (sizeof(Code) == 1) fill_table(levels, table);
    store_step(alpha, levels, step, trouble);
  }
  template <int N>
  __device__ void put(const ChannelNorm* norm, int64_t i, const Pack<float, N>& x, const uint8_t* table) const {
    const float a = alpha[0];
    Pack<Code, N> result;
    for (int j = 0; j < N; ++j) result[j] = project<Code>(norm[j].relu(x[j]) / a, levels, table);
    store(codes, i, result);
  }
};

template <int N, typename Out>
__global__ void __launch_bounds__(kThreads)
    normalise_kernel(int64_t packs, int channels, NormArrays arrays, const float* x, Out out) {
  SHARED_ARRAY(ChannelNorm, norm, kMostChannels);
  SHARED_ARRAY(uint8_t, table, kTableSize);
  for (int c = static_cast<int>(threadIdx.x); c < channels; c += kThreads) norm[c] = ChannelNorm::of(arrays, c);
  out.begin(table);
  __syncthreads();
  for_each_index(packs, [&](int64_t i) { out.put(norm + i * N % channels, i * N, load<N>(x, i * N), table); });
}

template <typename Out>
void normalise(const Node& node, const Tensor& x, const BatchNormTerms& terms, const Out& out) {
  const int64_t channels = terms.mean.elements();
  require_channels(channels);
  with_pack(channels, [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    const int64_t packs = x.elements() / N;
    // Every block makes the channels' numbers again, so there are not too many blocks.
    const unsigned blocks = std::min(blocks_for(packs), 1024u);
    launch(node, normalise_kernel<N, Out>, blocks, packs, static_cast<int>(channels), NormArrays(terms),
           input<float>(x), out);
  });
}

template <typename Code>
void normalise_and_quantize(const Tensor& x, const BatchNormTerms& terms, const Tensor& alpha, Quantized& out) {
  normalise({"norm relu quantize", x.bytes(), out.codes.bytes()}, x, terms,
            QuantizeOut<Code>{input<float>(alpha), output<Code>(out.codes), output<float>(out.step),
                              Context::get().trouble(), Levels(*out.levels)});
}

}  // namespace

void CudaNorm::batch_norm(const Tensor& x, const Tensor& mean, const Tensor& variance, const Tensor& gamma,
                          const Tensor& beta, double epsilon, Tensor& y) const {
  normalise({"norm", x.bytes(), y.bytes()}, x, {mean, variance, gamma, beta, epsilon, true},
            PlainOut{output<float>(y)});
}

void CudaFused::norm_relu(const Tensor& x, const BatchNormTerms& norm, Tensor& y) const {
  normalise({"norm relu", x.bytes(), y.bytes()}, x, norm, ReluOut{output<float>(y)});
}

void CudaFused::norm_add_relu(const Tensor& x, const BatchNormTerms& norm, const Tensor& shortcut, Tensor& y) const {
  normalise({"norm add relu", 2 * x.bytes(), y.bytes()}, x, norm, AddReluOut{input<float>(shortcut), output<float>(y)});
}

void CudaFused::norm_relu_quantize(const Tensor& x, const BatchNormTerms& norm, const Tensor& alpha,
                                   Quantized& out) const {
  if (out.exact())
    normalise_and_quantize<uint8_t>(x, norm, alpha, out);
  else
    normalise_and_quantize<float>(x, norm, alpha, out);
}

}  // namespace apotnet::cuda
