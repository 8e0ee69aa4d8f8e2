#include "core/kernels/cuda/codes/epilogue.h"
#include "core/kernels/cuda/codes/plain.h"
#include "core/kernels/cuda/codes/tile.h"
#include "core/kernels/cuda/kernels.h"

namespace apotnet::cuda {
namespace {

// Block (tile, part of kOutputs output channels).
template <typename Code, int kChunk, int kOutputs, typename Epilogue>
__global__ void __launch_bounds__(kThreads, kChunk == 64 || kOutputs == 64 ? 2 : 3)
    convolve_kernel(CodesTilePlan plan, const Code* x, const int8_t* w, Epilogue epilogue) {
  using Share = CodesWarpShare<kOutputs>;
  using Piece = Pack<Word, 4>;
  SHARED_ARRAY(Piece, pieces, kMostInputPixels * kChunk / 16);
  SHARED_ARRAY(uint8_t, tables, Epilogue::kTables * kTableSize);
  const auto tile = reinterpret_cast<Word*>(pieces);
  const CodesTilePlace place(plan, static_cast<int>(blockIdx.x));
  const int first_output = static_cast<int>(blockIdx.y) * kOutputs;
  const Share share;
  CodesWarpSums<Code, kChunk, kOutputs> sums(plan, share, first_output);

  epilogue.prepare(tables);
  for (int channel = 0; channel < plan.channels; channel += kChunk) {
    if (channel > 0) __syncthreads();
    load_codes_tile<kChunk>(plan, place, reinterpret_cast<const Word*>(x), channel, tile);
    __syncthreads();
    sums.add(plan, tile, reinterpret_cast<const Word*>(w), channel);
  }

  int64_t out[Share::kRowTiles][2];
  for (int i = 0; i < Share::kRowTiles; ++i)
    for (int half = 0; half < 2; ++half) out[i][half] = output_pixel(plan, place, share.pixel(i, half));
#pragma unroll
  for (int group = 0; group < Share::kColumnTiles / 2; ++group) {
    const int channel = first_output + share.summed_channel(group);
    if (channel >= plan.outputs) continue;
    const auto terms = epilogue.template channels<4>(channel);
#pragma unroll
    for (int i = 0; i < Share::kRowTiles; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half)
        if (out[i][half] >= 0)
          epilogue.template finish<4>(tables, out[i][half], channel, terms, sums.sums(i, half, group));
  }
}

template <typename Code, typename Epilogue>
__global__ void __launch_bounds__(kThreads)
    plain_convolve_kernel(int64_t count, PlainConvolution<Code> convolution, Epilogue epilogue) {
  SHARED_ARRAY(uint8_t, tables, Epilogue::kTables * kTableSize);
  epilogue.prepare(tables);
  __syncthreads();
  for_each_index(count, [&](int64_t i) {
    const auto channel = static_cast<int>(i % convolution.outputs);
    const int64_t pixel = i / convolution.outputs;
    const Pack<int32_t, 1> sum{{convolution.sum(pixel, channel)}};
    epilogue.template finish<1>(tables, pixel, channel, epilogue.template channels<1>(channel), sum);
  });
}

template <int N>
__global__ void __launch_bounds__(kThreads)
    plane_kernel(int64_t packs, int packs_of_pixel, const float* y, ToValues epilogue) {
  SHARED_ARRAY(uint8_t, tables, ToValues::kTables * kTableSize);
  epilogue.prepare(tables);
  __syncthreads();
  for_each_index(packs, [&](int64_t i) {
    const int channel = static_cast<int>(i % packs_of_pixel) * N;
    epilogue.template finish<N>(tables, i / packs_of_pixel, channel, epilogue.template channels<N>(channel),
                                load<N>(y, i * N));
  });
}

template <typename Code, int kChunk, typename Epilogue>
void launch_tiles(const Node& node, const CodesTilePlan& plan, const Tensor& x, const Tensor& w,
                  const Epilogue& epilogue) {
  const auto run = [&](auto outputs) {
    constexpr int kOutputs = decltype(outputs)::value;
    const dim3 grid(static_cast<unsigned>(plan.tiles()),
                    static_cast<unsigned>((plan.outputs + kOutputs - 1) / kOutputs));
    launch(node, convolve_kernel<Code, kChunk, kOutputs, Epilogue>, grid, plan, input<Code>(x), input<int8_t>(w),
           epilogue);
  };
  // Signed codes come before wide convolutions alone (MobileNet-V2's expansions): one instance will do.
  if (std::is_signed_v<Code> || plan.outputs > 32)
    run(std::integral_constant<int, 64>{});
  else if constexpr (!std::is_signed_v<Code>)
    plan.outputs > 16 ? run(std::integral_constant<int, 32>{}) : run(std::integral_constant<int, 16>{});
}

template <typename Code, typename Epilogue>
void convolve_codes(const Node& node, const CodesConvolution& c, const Epilogue& epilogue) {
  const bool fits = c.geometry.groups == 1 && c.w.size(3) == c.x.size(3) && c.w.size(0) % 4 == 0;
  if (fits && aligned(c.x.raw()) && aligned(c.w.raw()) && epilogue.takes(4)) {
    const CodesTilePlan plan(c.x.shape(), c.w.shape(), c.geometry);
    if (plan.chunk() == 64) return launch_tiles<Code, 64>(node, plan, c.x, c.w, epilogue);
    if (plan.chunk() == 32) return launch_tiles<Code, 32>(node, plan, c.x, c.w, epilogue);
    if (plan.chunk() == 16) return launch_tiles<Code, 16>(node, plan, c.x, c.w, epilogue);
  }
  const PlainConvolution<Code> convolution(c.x, c.w, c.geometry);
  const int64_t count = c.x.size(0) * convolution.out_height * convolution.out_width * convolution.outputs;
  launch(node, plain_convolve_kernel<Code, Epilogue>, blocks_for(count), count, convolution, epilogue);
}

template <typename Epilogue>
void convolve(const Node& node, const CodesConvolution& c, const Epilogue& epilogue) {
  if (c.x.dtype() == DType::s8)
    convolve_codes<int8_t>(node, c, epilogue);
  else
    convolve_codes<uint8_t>(node, c, epilogue);
}

size_t bytes_of(const Tensor& tensor) { return tensor.defined() ? tensor.bytes() : 0; }
size_t bytes_of(const CodesConvolution& c) {
  const bool one_by_one = c.w.size(1) == 1 && c.w.size(2) == 1;  // which may leave gaps between the pixels it reads
  const int64_t pixels = c.geometry.output_size(c.x.size(1), 1) * c.geometry.output_size(c.x.size(2), 1);
  return c.w.bytes() + (one_by_one ? static_cast<size_t>(c.x.size(0) * pixels * c.x.size(3)) : c.x.bytes());
}
size_t bytes_of(const ValueTerms& terms) {
  return bytes_of(terms.scale) + bytes_of(terms.shift) + bytes_of(terms.shortcut);
}
// Of the channels that are written.
size_t bytes_of(const ValuesOutput& out, int64_t channels) {
  size_t bytes = bytes_of(out.values);
  for (const CodesOutput& codes : out.codes)
    bytes += static_cast<size_t>(codes.codes.elements() / codes.codes.size(3) * channels);
  return bytes;
}

}  // namespace

void CudaCodes::convolve_to_codes(const CodesConvolution& convolution, const ChannelThresholds& thresholds,
                                  Tensor& codes) const {
  const bool lines = thresholds.factor.defined();
  const size_t channel_bytes = lines ? thresholds.factor.bytes() * 2 : thresholds.values.bytes();
  const auto written = static_cast<size_t>(codes.elements() / codes.size(3) * convolution.w.size(0));
  convolve({"codes to codes", bytes_of(convolution) + channel_bytes, written}, convolution, ToCodes(thresholds, codes));
}

void CudaCodes::convolve_to_values(const CodesConvolution& convolution, const ValueTerms& terms,
                                   ValuesOutput& out) const {
  const int64_t channels = convolution.w.size(0);
  convolve({"codes to values", bytes_of(convolution) + bytes_of(terms), bytes_of(out, channels)}, convolution,
           ToValues(terms, channels, out));
}

void CudaCodes::plane_to_values(const Tensor& y, const ValueTerms& terms, ValuesOutput& out) const {
  const int64_t channels = y.size(3);
  const ToValues epilogue(terms, channels, out);
  with_pack(epilogue.takes(4) ? aligned_count(4, {&y}) : 1, [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    const int64_t packs = y.elements() / N;
    launch({"plane to values", y.bytes() + bytes_of(terms), bytes_of(out, channels)}, plane_kernel<N>,
           std::min(blocks_for(packs), 1024u), packs, static_cast<int>(channels / N), input<float>(y), epilogue);
  });
}

}  // namespace apotnet::cuda
