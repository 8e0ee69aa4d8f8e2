// The way of a stored gradient back through a value, and the gradient in front of a batch norm.
#include "core/kernels/cuda/step/value_gradient.h"

namespace apotnet::cuda {
namespace {

// Whether two operands have the same raw numbers.
bool same_numbers(const Operand& a, const Operand& b) {
  if (a.sums.has_value() != b.sums.has_value()) return false;
  return a.sums ? a.sums->narrow.raw() == b.sums->narrow.raw() : a.values.raw() == b.values.raw();
}

Source source_of(const ValueGradient& gradient, size_t n) {
  if (n >= gradient.norms.size()) return Source::none;
  const Operand& operand = gradient.norms[n].operand;
  if (same_numbers(operand, gradient.value.a)) return Source::value_a;
  if (gradient.value.b && same_numbers(operand, *gradient.value.b)) return Source::value_b;
  return Source::memory;
}

int64_t channels_of(const Shape& shape) { return shape[shape.rank() - 1]; }

}  // namespace

NormPart NormPart::of(ValueGradient& gradient, size_t n) {
  const Source source = source_of(gradient, n);
  if (source == Source::none)
    return {source, OperandArrays::none(), {NormArrays::none(), {}, nullptr, nullptr, nullptr, nullptr, 0, nullptr}};
  NormGradient& norm = gradient.norms[n];
  const int64_t elements = gradient.value.shape().elements(), channels = channels_of(gradient.value.shape());
  return {source,
          source == Source::memory ? OperandArrays(norm.operand) : OperandArrays::none(),
          {NormArrays(*norm.operand.norm), Wide::of(static_cast<double>(elements / channels)),
           output<float>(norm.ggamma), output<float>(norm.gbeta),
           reinterpret_cast<ChannelGradient*>(output<float>(norm.coefficients)), nullptr, 0, nullptr}};
}

ValueNeeds::ValueNeeds(const ValueGradient& gradient) {
  const Value& v = gradient.value;
  masks = gradient.masks && (v.relu || (v.a.relu && !v.b));
  value = gradient.quantized || masks;
  a = value;
  b = value && v.b;
  for (size_t n = 0; n < gradient.norms.size(); ++n) {
    a = a || source_of(gradient, n) == Source::value_a;
    b = b || source_of(gradient, n) == Source::value_b;
  }
}

size_t bytes_read(const ValueGradient& gradient) {
  const ValueNeeds needs(gradient);
  size_t bytes = gradient.other.defined() ? gradient.other.bytes() : 0;
  if (needs.a) bytes += bytes_read(gradient.value.a);
  if (needs.b) bytes += bytes_read(*gradient.value.b);
  for (size_t n = 0; n < gradient.norms.size(); ++n)
    if (source_of(gradient, n) == Source::memory) bytes += bytes_read(gradient.norms[n].operand);
  return bytes;
}

void check_value_gradient(const ValueGradient& gradient) {
  const Shape& shape = gradient.value.shape();
  const auto check_gradient = [&](const Tensor& tensor) {
    require(tensor.shape() == shape, "a gradient ", tensor.shape(), " of a value ", shape);
  };
  check_gradient(gradient.out);
  if (gradient.other.defined()) check_gradient(gradient.other);
  require(gradient.norms.size() <= 2, "a value with ", gradient.norms.size(), " batch norms");
  for (const NormGradient& norm : gradient.norms) {
    require(norm.operand.norm.has_value() && norm.operand.shape() == shape, "not a batch norm of the value ", shape);
    require(norm.coefficients.shape() == Shape{channels_of(shape), 3}, "coefficients ", norm.coefficients.shape());
  }
  require(!gradient.quantized || (gradient.levels && gradient.levels->fits_u8()), "a value without 8-bit levels");
}

namespace {

// Gradients that each belong to so many pixels side by side, and what of it is a pixel's share.
struct SharedGradient {
  GradientInput g;
  int64_t pixels;
  float share;

  SharedGradient(const Tensor& tensor, const Shape& shape)
      : g(tensor),
        pixels(shape.elements() / tensor.elements()),
        share(static_cast<float>(1.0 / static_cast<double>(pixels))) {}

  template <int N>
  __device__ Pack<float, N> at(int64_t pixel, int channels, int channel) const {
    if (pixels == 1) return g.template at<N>(pixel * channels + channel);
    Pack<float, N> own = g.template at<N>(pixel / pixels * channels + channel);
    for (int j = 0; j < N; ++j) own[j] *= share;
    return own;
  }
};

template <int N, int kNorms>
__global__ void __launch_bounds__(kThreads, 2)
    value_gradient_kernel(PixelCut cut, SharedGradient g, ValueGradientArrays<kNorms> gradient, unsigned* ticket) {
  using Quad = Pack<float, 4>;
  SHARED_ARRAY(Quad, terms, kTerms * PixelCut::kBlockChannels / 4);
  SHARED_ARRAY(float, table, kTableSize);
  constexpr int kRoom = kFinishRoom<N, kNorms, 1>;
  SHARED_ARRAY(Wide, room, kRoom);
  const int thread = static_cast<int>(threadIdx.x), row = thread / cut.width, place = thread % cut.width;
  const int first = static_cast<int>(blockIdx.y) * cut.width * N, width = min(cut.width, (cut.channels - first) / N);
  const ValuePass<kNorms> pass(gradient, first, width * N, terms[0].values, PixelCut::kBlockChannels, table);
  __syncthreads();

  ValueSums<N, kNorms> sums[1] = {};
  const int64_t begin = blockIdx.x * cut.chunk, end = min(begin + cut.chunk, cut.pixels);
  if (place < width && row < cut.rows)
    for (int64_t pixel = begin + row; pixel < end; pixel += cut.rows) {
      const int64_t i = pixel * cut.channels + first + place * N;
      pass(g.template at<N>(pixel, cut.channels, first + place * N), pass.template fetch<N>(i), i, place * N, sums[0]);
    }
  finish_value_gradient(gradient, sums, cut.channels, first, cut.width, thread, room, ticket);
}

template <int N>
__global__ void __launch_bounds__(kThreads)
    norm_input_gradient_kernel(PixelCut cut, GradientInput g, OperandArrays x, const ChannelGradient* coefficients,
                               GradientOutput dx) {
  const int row = static_cast<int>(threadIdx.x) / cut.width, place = static_cast<int>(threadIdx.x) % cut.width;
  const int channel = (static_cast<int>(blockIdx.y) * cut.width + place) * N;
  if (channel >= cut.channels || row >= cut.rows) return;
  ChannelGradient own[N];
  for (int j = 0; j < N; ++j) own[j] = coefficients[channel + j];
  const float step = x.step();
  const int64_t begin = blockIdx.x * cut.chunk, end = min(begin + cut.chunk, cut.pixels);
  for (int64_t pixel = begin + row; pixel < end; pixel += cut.rows) {
    const int64_t i = pixel * cut.channels + channel;
    const Pack<float, N> gs = g.template at<N>(i), xs = x.template raw<N>(i, step);
    Pack<float, N> result;
    for (int j = 0; j < N; ++j)
      result[j] = norm_input_gradient(gs[j], xs[j], own[j].factor, own[j].slope, own[j].constant);
    dx.put(i, result);
  }
}

}  // namespace

void launch_value_gradient(const Tensor& g, ValueGradient& gradient) {
  check_value_gradient(gradient);
  const Shape& shape = gradient.out.shape();
  const int64_t channels = channels_of(shape), pixels = shape.elements() / channels;
  require(g.shape() == shape || g.shape() == Shape{shape[0], 1, 1, channels}, "a gradient ", g.shape(), " of a value ",
          shape);
  with_channel_pack(channels, [&](auto pack) {
    with_norms(gradient, [&](auto norms) {
      // The sums of 8 channels for two batch norms are more than the registers hold.
      constexpr int kNorms = decltype(norms)::value, N = std::min(decltype(pack)::value, kNorms == 2 ? 4 : 8);
      const PixelCut cut = PixelCut::of<N>(pixels, channels);
      PartialSums<kNorms> room(cut.grid<N>(), channels);
      launch({"value gradient", g.bytes() + bytes_read(gradient), gradient.out.bytes()},
             value_gradient_kernel<N, kNorms>, cut.grid<N>(), cut, SharedGradient(g, shape),
             ValueGradientArrays<kNorms>(gradient, room.sums.data(), room.alpha.data()), Context::get().ticket());
    });
  });
}

void launch_norm_input_gradient(const NormInputGradient& gradient, Tensor& dx) {
  const Tensor& g = gradient.g;
  require(g.shape() == gradient.x.shape() && g.shape() == dx.shape(), "gradients ", g.shape(), " and ", dx.shape(),
          " of a batch norm's input ", gradient.x.shape());
  const int64_t channels = channels_of(g.shape()), pixels = g.elements() / channels;
  with_channel_pack(channels, [&](auto pack) {
    constexpr int N = decltype(pack)::value;
    const PixelCut cut = PixelCut::of<N>(pixels, channels);
    launch({"norm input gradient", g.bytes() + bytes_read(gradient.x), dx.bytes()}, norm_input_gradient_kernel<N>,
           cut.grid<N>(), cut, GradientInput(g), OperandArrays(gradient.x),
           reinterpret_cast<const ChannelGradient*>(input<float>(gradient.coefficients)), GradientOutput(dx));
  });
}

}  // namespace apotnet::cuda
