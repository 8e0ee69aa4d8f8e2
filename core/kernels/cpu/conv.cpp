#include <algorithm>
#include <cstring>

#include "core/base/parallel.h"
#include "core/kernels/cpu/codes/codes_conv.h"
#include "core/kernels/cpu/codes/epilogue.h"
#include "core/kernels/cpu/cpu.h"
#include "core/kernels/cpu/few_channels.h"
#include "core/kernels/cpu/loops.h"
#include "core/kernels/cpu/onednn.h"
#include "core/kernels/cpu/winograd_f32.h"

namespace apotnet {
namespace {

// The images of a convolution, cut into chunks whose input fits the second-level cache.
struct ImageChunks {
  ConvShape shape;  // `images` is the whole batch
  int64_t per_chunk;

  ImageChunks(const Shape& x, const Shape& w, const Shape& y, const Conv2dGeometry& g)
      : shape{x[0], x[1], x[2], x[3], w[1], w[2], y[1], y[2], y[3], g.stride, g.padding, g.groups} {
    const int64_t largest = std::max(x[1] * x[2] * x[3], y[1] * y[2] * y[3]);
    per_chunk = std::clamp<int64_t>((int64_t{1} << 17) / std::max<int64_t>(largest, 1), 1, 16);
  }

  int64_t count() const { return (shape.images + per_chunk - 1) / per_chunk; }
  int64_t images_of(int64_t chunk) const { return std::min(per_chunk, shape.images - chunk * per_chunk); }
  int64_t x_image() const { return shape.height * shape.width * shape.channels; }
  int64_t y_image() const { return shape.output_h * shape.output_w * shape.outputs; }

  const OneDnnConvolution& convolution(ConvPass pass, int64_t images) const {
    ConvShape part = shape;
    part.images = images;
    return OneDnnConvolution::get(pass, part);
  }
  // The last chunk may be smaller, and oneDNN may order its weights differently: one packing for each size.
  struct Packed {
    const OneDnnConvolution* convolution;
    std::shared_ptr<Buffer> weights;
  };
  Packed pack(ConvPass pass, int64_t images, const Tensor& w) const {
    const OneDnnConvolution& made = convolution(pass, images);
    auto buffer = Buffer::allocate(made.packed_bytes(), {});
    made.pack(w.raw(), buffer->data());
    return {&made, buffer};
  }
  // body(convolution, packed weights, first image, images) for each chunk.
  template <typename F>
  void for_each(ConvPass pass, const Tensor& w, F&& body) const {
    const Packed whole = pack(pass, images_of(0), w);
    const Packed rest = images_of(count() - 1) == images_of(0) ? whole : pack(pass, images_of(count() - 1), w);
    parallel_for(count(), [&](int64_t chunk) {
      const Packed& packed = images_of(chunk) == images_of(0) ? whole : rest;
      body(*packed.convolution, packed.weights->data(), chunk * per_chunk, images_of(chunk));
    });
  }
};

// The three tensors of a backward pass; `x` is float32, or u8 codes of `step`.
struct OneDnnBackward {
  static void input(const ImageChunks& chunks, const Tensor& gy, const Tensor& w, Tensor& gx) {
    const float* gys = gy.data<float>().data();
    float* gxs = gx.data<float>().data();
    chunks.for_each(ConvPass::backward_input, w,
                    [&](const OneDnnConvolution& convolution, const void* weights, int64_t first, int64_t) {
                      convolution.run(gys + first * chunks.y_image(), weights, gxs + first * chunks.x_image());
                    });
  }

  // gw = sum over chunks in their order.
  static void weight(const ImageChunks& chunks, const Tensor& gy, const Tensor& x, float step, Tensor& gw) {
    std::vector<std::shared_ptr<Buffer>> partial(static_cast<size_t>(chunks.count()));
    const float* gys = gy.data<float>().data();
    parallel_for(chunks.count(), [&](int64_t chunk) {
      const int64_t first = chunk * chunks.per_chunk, images = chunks.images_of(chunk);
      const OneDnnConvolution& convolution = chunks.convolution(ConvPass::backward_weight, images);
      const auto packed = Buffer::allocate(convolution.packed_bytes(), {});
      std::shared_ptr<Buffer> scratch;
      const float* values = decode(chunks, x, step, first, images, scratch);
      convolution.run(gys + first * chunks.y_image(), values, packed->data());
      partial[static_cast<size_t>(chunk)] = Buffer::allocate(gw.bytes(), {});
      convolution.unpack(packed->data(), partial[static_cast<size_t>(chunk)]->data());
    });
    std::memcpy(gw.raw(), partial[0]->data(), gw.bytes());
    float* sum = gw.data<float>().data();
    for (size_t i = 1; i < partial.size(); ++i)
      loops().add(gw.elements(), sum, reinterpret_cast<const float*>(partial[i]->data()), sum);
  }

  // The float input of a chunk. Codes become floats a chunk at a time: they never leave the cache.
  static const float* decode(const ImageChunks& chunks, const Tensor& x, float step, int64_t first, int64_t images,
                             std::shared_ptr<Buffer>& scratch) {
    if (x.dtype() == DType::f32) return x.data<float>().data() + first * chunks.x_image();
    const int64_t count = images * chunks.x_image();
    scratch = Buffer::allocate(static_cast<size_t>(count) * sizeof(float), {});
    auto* values = reinterpret_cast<float*>(scratch->data());
    loops().decode(count, x.data<uint8_t>().data() + first * chunks.x_image(), step, values);
    return values;
  }
};

struct WinogradBackward {
  static WinogradShape shape_of(const ConvShape& s) { return {s.images, s.height, s.width, s.channels, s.outputs}; }

  static bool accepts(const ConvShape& s) {
    return s.kernel_h == 3 && s.kernel_w == 3 && s.stride == 1 && s.padding == 1 && s.groups == 1 &&
           winograd_kernels(s.channels, s.outputs) && winograd_pays(shape_of(s));
  }
  static void input(const ImageChunks& chunks, const Tensor& gy, const Tensor& w, Tensor& gx) {
    const ConvShape& s = chunks.shape;
    winograd_backward_input(*winograd_kernels(s.channels, s.outputs), shape_of(s), gy.data<float>().data(),
                            w.data<float>().data(), gx.data<float>().data());
  }
  static void weight(const ImageChunks& chunks, const Tensor& gy, const Tensor& x, float step, Tensor& gw) {
    const WinogradShape s = shape_of(chunks.shape);
    const WinogradKernels& kernels = *winograd_kernels(s.channels, s.outputs);
    const float* gys = gy.data<float>().data();
    float* gws = gw.data<float>().data();
    if (x.dtype() == DType::f32)
      winograd_backward_weight(kernels, s, gys, x.data<float>().data(), gws);
    else
      winograd_backward_weight(kernels, s, gys, x.data<uint8_t>().data(), step, gws);
  }
};

// oneDNN 2.6 on AVX2 writes past its scratch memory in strided 1x1 convolutions of fewer than 8 channels. No network
// has such a layer, so the plain loops will do.
bool is_safe_in_onednn(const ConvShape& s) {
  return s.stride == 1 || s.kernel_h * s.kernel_w > 1 || s.channels / s.groups >= 8;
}

// The ways to compute a backward pass, the fastest first; the plain loops take what none of them accepts.
struct BackwardKernel {
  const char* name;
  bool (*accepts)(const ConvShape& shape);
  void (*input)(const ImageChunks& chunks, const Tensor& gy, const Tensor& w, Tensor& gx);
  void (*weight)(const ImageChunks& chunks, const Tensor& gy, const Tensor& x, float step, Tensor& gw);
};
constexpr BackwardKernel kBackwardKernels[] = {
    {"winograd", WinogradBackward::accepts, WinogradBackward::input, WinogradBackward::weight},
    {"onednn", is_safe_in_onednn, OneDnnBackward::input, OneDnnBackward::weight},
};

const BackwardKernel* backward_kernel(const ConvShape& shape) {
  const auto* found = std::ranges::find_if(kBackwardKernels, [&](const auto& row) { return row.accepts(shape); });
  return found == std::end(kBackwardKernels) ? nullptr : found;
}

// The own kernel for these codes; null where only the portable ones would fit.
std::unique_ptr<CodesConv> own_kernel(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry) {
  if (!x.exact() || !w.exact()) return nullptr;
  auto conv = make_codes_conv(x, w, geometry);
  return conv->isa() == Isa::generic ? nullptr : std::move(conv);
}

// Per channel the sums and the sums of squares of one image's integers: exact in double, so that their order is free.
struct ImageSums {
  std::vector<double> sum, squares;
};

/// The codes of an image as bytes: signed ones with `zero` added, in memory of their own.
class BytesOfImage {
 public:
  BytesOfImage(const Tensor& codes, int64_t image, int64_t size, int64_t zero) {
    if (codes.dtype() == DType::u8) {
      bytes_ = codes.data<uint8_t>().data() + image * size;
      return;
    }
    shifted_.resize(static_cast<size_t>(size));
    const auto from = codes.data<int8_t>().subspan(static_cast<size_t>(image * size), shifted_.size());
    std::ranges::transform(from, shifted_.begin(), [zero](int8_t code) { return static_cast<uint8_t>(code + zero); });
    bytes_ = shifted_.data();
  }
  const uint8_t* data() const { return bytes_; }

 private:
  std::vector<uint8_t> shifted_;
  const uint8_t* bytes_ = nullptr;
};

// y = float(sums) * step, one image after the other; `statistics` of every image where wanted.
void convolve_codes(const CodesConv& conv, const Tensor& codes, float step, Tensor& y,
                    std::vector<ImageSums>* statistics = nullptr) {
  const CodesConvShape& s = conv.shape();
  const CodeFrame layout(s);
  const int64_t row = s.output_w() * s.padded_outputs(), image_size = s.height * s.width * s.channels;
  const int64_t rows = std::max<int64_t>(1, 2048 / (row * conv.row_step())) * conv.row_step();  // 8 KB of sums
  parallel_for(y.size(0), [&](int64_t image) {
    const auto frame = Buffer::allocate(static_cast<size_t>(layout.bytes()), {});
    const auto sums = Buffer::allocate(static_cast<size_t>(rows * row) * sizeof(int32_t), {});
    const auto scratch = Buffer::allocate(static_cast<size_t>(conv.scratch_bytes()), {});
    auto* framed = reinterpret_cast<uint8_t*>(frame->data());
    layout.clear(frame->data());
    layout.fill(BytesOfImage(codes, image, image_size, s.zero).data(), s.channels, framed);
    ImageSums* image_sums = statistics ? &(*statistics)[static_cast<size_t>(image)] : nullptr;
    for (int64_t first = 0; first < s.output_h(); first += rows) {
      const int64_t count = std::min(rows, s.output_h() - first);
      conv.sums(framed, first, count, reinterpret_cast<int32_t*>(sums->data()), scratch->data());
      if (image_sums)
        loops().integer_sums(count * s.output_w(), s.outputs, s.padded_outputs(),
                             reinterpret_cast<const int32_t*>(sums->data()), image_sums->sum.data(),
                             image_sums->squares.data());
      epilogues().values({.sums = reinterpret_cast<const int32_t*>(sums->data()),
                          .y = nullptr,
                          .step = step,
                          .pixels = count * s.output_w(),
                          .channels = s.outputs,
                          .padded_channels = s.padded_outputs(),
                          .scale = nullptr,
                          .shift = nullptr,
                          .shortcut = nullptr,
                          .relu = false,
                          .values = y.data<float>().data() + (image * s.output_h() + first) * s.output_w() * s.outputs,
                          .targets = {},
                          .target_count = 0});
    }
  });
}

// Whether u8 x s8 products go through without saturating: always with VNNI, else when every pair of them fits 16 bits.
bool integer_path_is_exact(const Quantized& x, const Quantized& w) {
  if (x.codes.dtype() != DType::u8) return false;
  return has_vnni() || 2 * x.levels->k() * w.levels->k() <= 32767;
}

// Whether the integer sums are exact in float32, where every partial sum is below 2^24.
bool float_path_is_exact(const Quantized& x, const Quantized& w) {
  return x.levels->k() * w.levels->k() * (w.codes.elements() / w.shape()[0]) < (int64_t{1} << 24);
}

}  // namespace

void CpuConv::conv2d(const Tensor& x, const Tensor& w, const Conv2dGeometry& geometry, Tensor& y) const {
  if (fits_few_channels(x, w, geometry)) return few_channels_conv2d(x, w, geometry, y);
  const ImageChunks chunks(x.shape(), w.shape(), y.shape(), geometry);
  if (!is_safe_in_onednn(chunks.shape)) return ReferenceConv::conv2d(x, w, geometry, y);
  const float* xs = x.data<float>().data();
  float* ys = y.data<float>().data();
  chunks.for_each(ConvPass::forward, w,
                  [&](const OneDnnConvolution& convolution, const void* weights, int64_t first, int64_t) {
                    convolution.run(xs + first * chunks.x_image(), weights, ys + first * chunks.y_image());
                  });
}

void CpuConv::conv2d_backward_input(const Tensor& gy, const Tensor& w, const Conv2dGeometry& geometry,
                                    Tensor& gx) const {
  const ImageChunks chunks(gx.shape(), w.shape(), gy.shape(), geometry);
  if (const BackwardKernel* kernel = backward_kernel(chunks.shape)) return kernel->input(chunks, gy, w, gx);
  ReferenceConv::conv2d_backward_input(gy, w, geometry, gx);
}

void CpuConv::conv2d_backward_weight(const Tensor& gy, const Tensor& x, const Conv2dGeometry& geometry,
                                     Tensor& gw) const {
  const ImageChunks chunks(x.shape(), gw.shape(), gy.shape(), geometry);
  if (const BackwardKernel* kernel = backward_kernel(chunks.shape)) return kernel->weight(chunks, gy, x, 1, gw);
  ReferenceConv::conv2d_backward_weight(gy, x, geometry, gw);
}

void CpuConv::conv2d_codes(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry, Tensor& y) const {
  if (const auto conv = own_kernel(x, w, geometry))
    return convolve_codes(*conv, x.codes, x.step.data<float>()[0] * w.step.data<float>()[0], y);
  const bool integers = x.exact() && w.exact();
  if (integers && !integer_path_is_exact(x, w) && !float_path_is_exact(x, w))
    return ReferenceConv::conv2d_codes(x, w, geometry, y);
  const float step = x.step.data<float>()[0] * w.step.data<float>()[0];
  float* ys = y.data<float>().data();
  if (!integers || !integer_path_is_exact(x, w)) {
    conv2d(x.codes.to(DType::f32), w.codes.to(DType::f32), geometry, y);
    parallel_ranges(y.elements(), 1 << 15,
                    [&](int64_t i, int64_t end) { loops().scale(end - i, ys + i, step, ys + i); });
    return;
  }
  const ImageChunks chunks(x.shape(), w.shape(), y.shape(), geometry);
  const uint8_t* codes = x.codes.data<uint8_t>().data();
  chunks.for_each(ConvPass::codes, w.codes,
                  [&](const OneDnnConvolution& convolution, const void* weights, int64_t first, int64_t images) {
                    const int64_t count = images * chunks.y_image();
                    const auto sums = Buffer::allocate(static_cast<size_t>(count) * sizeof(int32_t), {});
                    convolution.run(codes + first * chunks.x_image(), weights, sums->data());
                    loops().scale_sums(count, reinterpret_cast<const int32_t*>(sums->data()), step,
                                       ys + first * chunks.y_image());
                  });
}

void CpuConv::conv2d_codes_statistics(const Quantized& x, const Quantized& w, const Conv2dGeometry& geometry, Tensor& y,
                                      Tensor& mean, Tensor& variance) const {
  const auto conv = own_kernel(x, w, geometry);
  if (!conv) {
    conv2d_codes(x, w, geometry, y);
    return CpuNorm().batch_statistics(y, mean, variance);
  }
  const auto channels = static_cast<size_t>(y.size(3));
  const float step = x.step.data<float>()[0] * w.step.data<float>()[0];
  std::vector<ImageSums> images(static_cast<size_t>(y.size(0)),
                                {std::vector<double>(channels), std::vector<double>(channels)});
  convolve_codes(*conv, x.codes, step, y, &images);
  const double count = static_cast<double>(y.elements()) / static_cast<double>(channels), scale = step;
  for (size_t c = 0; c < channels; ++c) {
    double sum = 0, squares = 0;
    for (const ImageSums& image : images) {
      sum += image.sum[c];
      squares += image.squares[c];
    }
    const double m = sum / count;
    mean.data<float>()[c] = static_cast<float>(scale * m);
    variance.data<float>()[c] = static_cast<float>(scale * scale * std::max(0.0, squares / count - m * m));
  }
}

void CpuConv::conv2d_codes_backward_weight(const Tensor& gy, const Quantized& x, const Conv2dGeometry& geometry,
                                           Tensor& gw) const {
  const ImageChunks chunks(x.shape(), gw.shape(), gy.shape(), geometry);
  const BackwardKernel* kernel = x.exact() ? backward_kernel(chunks.shape) : nullptr;
  if (!kernel) return ReferenceConv::conv2d_codes_backward_weight(gy, x, geometry, gw);
  if (x.codes.dtype() != DType::u8) {
    Tensor values(x.shape(), DType::f32);
    CpuQuantize().dequantize(x, values);
    return kernel->weight(chunks, gy, values, 1, gw);
  }
  kernel->weight(chunks, gy, x.codes, x.step.data<float>()[0], gw);
}

}  // namespace apotnet
