// Values by themselves: stored as floats, as codes, or both.
#include "core/kernels/cuda/step/value.h"

namespace apotnet::cuda {
namespace {

// Channels of a block, at most one for each thread.
constexpr int kSlice = kThreads;

// Where values go; null: nowhere.
struct ValueOutput {
  float* values;
  uint8_t* codes;
};

struct Rounding {
  const float* alpha;
  float* step;
  int* trouble;
  Levels levels;
};

template <int N>
__global__ void __launch_bounds__(kThreads)
    evaluate_kernel(int64_t pixels, int channels, ValueArrays value, ValueOutput out, Rounding rounding) {
  SHARED_ARRAY(ChannelNorm, norm_a, kSlice);
  SHARED_ARRAY(ChannelNorm, norm_b, kSlice);
  SHARED_ARRAY(uint8_t, table, kTableSize);
  const int first = static_cast<int>(blockIdx.y) * kSlice, width = min(kSlice, channels - first);
  prepare_norm(value.a, first, width, norm_a);
  prepare_norm(value.b, first, width, norm_b);
  if (out.codes) {
    fill_table(rounding.levels, table);
    if (blockIdx.y == 0) store_step(rounding.alpha, rounding.levels, rounding.step, rounding.trouble);
  }
  __syncthreads();
  const ClippedQuotient quotient(out.codes ? rounding.alpha[0] : 1.0f);
  const float step_a = value.a.step(), step_b = value.b.step();
  // A thread keeps to its channels.
  const int packs = width / N, rows = kThreads / packs, row = static_cast<int>(threadIdx.x) / packs;
  const int c = static_cast<int>(threadIdx.x) % packs * N;
  if (row >= rows) return;
  const auto terms = ValueArrays::Terms<N>::of(value, norm_a + c, norm_b + c);
  for (int64_t pixel = int64_t{blockIdx.x} * rows + row; pixel < pixels; pixel += int64_t{gridDim.x} * rows) {
    const int64_t element = pixel * channels + first + c;
    const Pack<float, N> found = value.finish_fetched(value.template fetch<N>(element), element, terms, step_a, step_b);
    if (out.values) store(out.values, element, found);
    if (!out.codes) continue;
    Pack<uint8_t, N> rounded;
    for (int j = 0; j < N; ++j) rounded[j] = project<uint8_t>(quotient(found[j]), rounding.levels, table);
    store(out.codes, element, rounded);
  }
}

template <int N>
void evaluate(const Node& node, const Value& value, const ValueOutput& out, const Rounding& rounding) {
  const Shape& shape = value.shape();
  const int64_t channels = shape[shape.rank() - 1], pixels = shape.elements() / channels;
  const auto slices = static_cast<unsigned>((channels + kSlice - 1) / kSlice);
  // Every block makes its channels' terms again, so there are not too many blocks.
  const unsigned blocks = std::min(blocks_for(pixels * std::min<int64_t>(channels, kSlice) / N), 1024u);
  launch(node, evaluate_kernel<N>, dim3(blocks, slices), pixels, static_cast<int>(channels), ValueArrays(value), out,
         rounding);
}

}  // namespace

void launch_evaluate(const Value& value, Tensor& values, QuantizedValue* codes) {
  ValueOutput out{};
  Rounding rounding{nullptr, nullptr, nullptr, Levels(LevelSet::of_magnitude(LevelMethod::ternary, 1))};
  Node node{"evaluate", bytes_read(value), 0};
  if (values.defined()) {
    out.values = output<float>(values);
    node.writes += values.bytes();
  }
  if (codes) {
    out.codes = output<uint8_t>(codes->codes.codes);
    rounding = {input<float>(codes->alpha), output<float>(codes->codes.step), Context::get().trouble(),
                Levels(*codes->codes.levels)};
    node.writes += codes->codes.codes.bytes();
  }
  const Shape& shape = value.shape();
  if (shape[shape.rank() - 1] % 8 == 0)
    evaluate<8>(node, value, out, rounding);
  else
    evaluate<1>(node, value, out, rounding);
}

}  // namespace apotnet::cuda
