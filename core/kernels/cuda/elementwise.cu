#include "core/kernels/cuda/kernels.h"
#include "core/kernels/cuda/launch.h"

namespace apotnet::cuda {
namespace {

struct Relu {
  __device__ float operator()(float x, float) const { return x < 0 ? 0.0f : x; }  // NaN stays NaN
};
struct ReluBackward {
  __device__ float operator()(float gy, float y) const { return y > 0 ? gy : 0.0f; }
};
struct Relu6 {
  __device__ float operator()(float x, float) const { return x < 0 ? 0.0f : x > 6 ? 6.0f : x; }
};
struct Relu6Backward {
  __device__ float operator()(float gy, float y) const { return y > 0 && y < 6 ? gy : 0.0f; }
};
struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Scale {
  float factor;
  __device__ float operator()(float x, float) const { return x * factor; }
};
struct ScaleBy {
  const float *a, *b;
  __device__ float operator()(float x, float) const { return x * (b ? a[0] * b[0] : a[0]); }
};

// y = f(a, b); b may be absent, y may be a or b.
template <int N, typename F>
__global__ void __launch_bounds__(kThreads) map_kernel(int64_t packs, const float* a, const float* b, float* y, F f) {
  for_each_index(packs, [&](int64_t i) {
    const Pack<float, N> as = load<N>(a, i * N), bs = b ? load<N>(b, i * N) : as;
    Pack<float, N> result;
    for (int j = 0; j < N; ++j) result[j] = f(as[j], bs[j]);
    store(y, i * N, result);
  });
}

template <typename F>
void map(std::string_view name, const Tensor& a, const Tensor* b, Tensor& y, F f) {
  const int64_t count = y.elements();
  if (count == 0) return;
  with_pack(aligned_count(count, {&a, b ? b : &a, &y}), [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    launch({name, a.bytes() * (b ? 2 : 1), y.bytes()}, map_kernel<N, F>, blocks_for(count / N), count / N,
           input<float>(a), b ? input<float>(*b) : nullptr, output<float>(y), f);
  });
}

template <typename T>
__global__ void __launch_bounds__(kThreads) fill_kernel(int64_t count, T value, T* to) {
  for_each_index(count, [&](int64_t i) { to[i] = value; });
}

template <typename T>
void fill(std::byte* to, uint64_t pattern, size_t count) {
  launch({"fill", 0, count * sizeof(T)}, fill_kernel<T>, blocks_for(static_cast<int64_t>(count)),
         static_cast<int64_t>(count), static_cast<T>(pattern), reinterpret_cast<T*>(to));
}

template <int N, typename Code>
__global__ void __launch_bounds__(kThreads) widen_kernel(int64_t packs, const Code* codes, float* to) {
  for_each_index(packs, [&](int64_t i) {
    const Pack<Code, N> in = load<N>(codes, i * N);
    Pack<float, N> out;
    for (int j = 0; j < N; ++j) out[j] = static_cast<float>(in[j]);
    store(to, i * N, out);
  });
}

template <typename Code>
void widen(const Tensor& codes, Tensor& numbers) {
  const int64_t count = codes.elements();
  with_pack(aligned_count(count, {&codes, &numbers}), [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    launch({"widen codes", codes.bytes(), numbers.bytes()}, widen_kernel<N, Code>, blocks_for(count / N), count / N,
           input<Code>(codes), output<float>(numbers));
  });
}

__global__ void __launch_bounds__(kThreads) add_bias_kernel(int64_t count, int channels, const float* bias, float* x) {
  for_each_index(count, [&](int64_t i) { x[i] += bias[i % channels]; });
}

}  // namespace

void CudaElementwise::relu(const Tensor& x, Tensor& y) const { map("relu", x, nullptr, y, Relu{}); }

void CudaElementwise::relu_backward(const Tensor& gy, const Tensor& y, Tensor& gx) const {
  map("relu backward", gy, &y, gx, ReluBackward{});
}

void CudaElementwise::relu6(const Tensor& x, Tensor& y) const { map("relu6", x, nullptr, y, Relu6{}); }

void CudaElementwise::relu6_backward(const Tensor& gy, const Tensor& y, Tensor& gx) const {
  map("relu6 backward", gy, &y, gx, Relu6Backward{});
}

void CudaElementwise::add(const Tensor& a, const Tensor& b, Tensor& y) const { map("add", a, &b, y, Add{}); }

void CudaElementwise::accumulate(const Tensor& x, Tensor& y) const { map("add", x, &y, y, Add{}); }

void CudaElementwise::scale(const Tensor& x, double factor, Tensor& y) const {
  map("scale", x, nullptr, y, Scale{static_cast<float>(factor)});
}

void launch_scale_by(const Tensor& a, const Tensor& b, Tensor& values) {
  map("scale", values, nullptr, values, ScaleBy{input<float>(a), b.defined() ? input<float>(b) : nullptr});
}

void launch_fill(std::byte* to, uint64_t pattern, size_t width, size_t count) {
  switch (width) {
    case 1:
      return fill<uint8_t>(to, pattern, count);
    case 2:
      return fill<uint16_t>(to, pattern, count);
    case 4:
      return fill<uint32_t>(to, pattern, count);
    default:
      return fill<uint64_t>(to, pattern, count);
  }
}

void launch_widen(const Tensor& codes, Tensor& numbers) {
  codes.dtype() == DType::s8 ? widen<int8_t>(codes, numbers) : widen<uint8_t>(codes, numbers);
}

void launch_add_bias(const Tensor& bias, Tensor& x) {
  launch({"add bias", x.bytes() + bias.bytes(), x.bytes()}, add_bias_kernel, blocks_for(x.elements()), x.elements(),
         static_cast<int>(bias.elements()), input<float>(bias), output<float>(x));
}

}  // namespace apotnet::cuda
