#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace apotnet {

/// One convolution of a chunk of images: x [images, height, width, channels], kernel kernel_h x kernel_w,
/// y [images, output_h, output_w, outputs].
struct ConvShape {
  int64_t images, height, width, channels, kernel_h, kernel_w, output_h, output_w, outputs, stride, padding, groups;
  auto operator<=>(const ConvShape&) const = default;
};

enum class ConvPass {
  forward,          ///< (x f32, w f32) -> y f32
  backward_input,   ///< (gy f32, w f32) -> gx f32
  backward_weight,  ///< (gy f32, x f32) -> gw f32
  codes             ///< (x u8, w s8) -> y s32
};

/// A convolution by oneDNN on the calling thread alone: the loop over chunks and threads is ours, so there is no
/// barrier inside a layer. Image tensors are NHWC; weights are OHWI outside and in oneDNN's own order inside.
class OneDnnConvolution {
 public:
  /// Made at the first use of a (pass, shape) and kept. Thread-safe.
  static const OneDnnConvolution& get(ConvPass pass, const ConvShape& shape);
  ~OneDnnConvolution();

  /// Bytes of the weights in oneDNN's order.
  size_t packed_bytes() const;
  /// OHWI to oneDNN's order (forward, backward_input, codes) and back (backward_weight). `packed` aligned to 64 bytes.
  void pack(const void* ohwi, void* packed) const;
  void unpack(const void* packed, void* ohwi) const;
  /// Runs on this thread. The weight operand, or the weight gradient as a result, is packed.
  void run(const void* first, const void* second, void* result) const;

 private:
  struct State;
  explicit OneDnnConvolution(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

/// Whether oneDNN sums u8 x s8 products without the 16-bit saturation of older instruction sets (AVX512 VNNI).
bool has_vnni();

}  // namespace apotnet
