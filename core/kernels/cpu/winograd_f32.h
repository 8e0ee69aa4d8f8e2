#pragma once

#include <cstdint>

namespace apotnet {

/// The backward passes of a 3x3 convolution (stride 1, padding 1, one group) in float32 with a quarter of the products:
/// Winograd's F(4x4, 3x3) for the input and F(3x3, 4x4) for the weights. An image is cut into 4x4 tiles; a tile and its
/// 6x6 surroundings become 36 positions, and there the convolution is a product of matrices over channels. Both use
/// the points 0, +-3/4, +-3/2, infinity: their squares are exact, and they round least among simple ones (about 1e-6 of
/// the largest output). A block of tiles is transformed at a time, to [position][channels / lanes][tile][lanes], so
/// that it stays in the second level cache. Bound by multiply-adds: 36 where the direct way has 144, and per channel,
/// not per pair of channels, some 200 for the transforms.
struct WinogradShape {
  int64_t images, height, width, channels, outputs;  // x [images, height, width, channels], gy [.., outputs]
};

constexpr int64_t kWinogradTile = 4, kWinogradPositions = 36;
constexpr int64_t kWinogradBlock = 24;  ///< tiles that are transformed at a time

/// Written once in winograd_f32_body.h and compiled for every processor level. Channel counts are multiples of `lanes`.
/// A call runs on this thread alone. `scratch` holds 6 * max(channels, outputs) floats and for each position
/// kWinogradBlock * (channels + outputs) + 32, in the weight passes channels * outputs more.
struct WinogradKernels {
  const char* name;
  int64_t lanes;

  /// w [outputs, 3, 3, channels] -> transformed [36, channels / lanes, outputs, lanes], mirrored for backward_input
  void (*transform_weight)(int64_t channels, int64_t outputs, const float* w, float* transformed);
  void (*backward_input)(const WinogradShape& shape, const float* gy, const float* transformed, float* scratch,
                         float* gx);
  /// gw [outputs, 3, 3, channels] = step * sum over the images; codes count as whole numbers
  void (*backward_weight)(const WinogradShape& shape, const float* gy, const float* x, float step, float* scratch,
                          float* gw);
  void (*backward_weight_codes)(const WinogradShape& shape, const float* gy, const uint8_t* codes, float step,
                                float* scratch, float* gw);
};

/// The widest kernels of this processor for these channel counts, null unless both are multiples of 8. see
/// core/base/isa.h.
const WinogradKernels* winograd_kernels(int64_t channels, int64_t outputs);
/// Whether images of this size have enough whole tiles.
bool winograd_pays(const WinogradShape& shape);

/// On all threads, a chunk of images at a time; partial weight gradients are added in chunk order.
void winograd_backward_input(const WinogradKernels& kernels, const WinogradShape& shape, const float* gy,
                             const float* w, float* gx);
void winograd_backward_weight(const WinogradKernels& kernels, const WinogradShape& shape, const float* gy,
                              const float* x, float* gw);
/// x = codes * step
void winograd_backward_weight(const WinogradKernels& kernels, const WinogradShape& shape, const float* gy,
                              const uint8_t* codes, float step, float* gw);

const WinogradKernels& generic_winograd();
const WinogradKernels& avx2_winograd();    ///< exists on x86-64 only
const WinogradKernels& avx512_winograd();  ///< exists on x86-64 only

}  // namespace apotnet
