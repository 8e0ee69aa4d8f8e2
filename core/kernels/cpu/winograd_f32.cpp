#include "core/kernels/cpu/winograd_f32.h"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "core/base/isa.h"
#include "core/base/parallel.h"
#include "core/kernels/cpu/loops.h"
#include "core/tensor/buffer.h"

namespace apotnet {
namespace {

int64_t tiles_of(const WinogradShape& s) {
  return (s.height + kWinogradTile - 1) / kWinogradTile * ((s.width + kWinogradTile - 1) / kWinogradTile);
}

float* floats(const std::shared_ptr<Buffer>& buffer) { return reinterpret_cast<float*>(buffer->data()); }

std::shared_ptr<Buffer> allocate(int64_t count) {
  return Buffer::allocate(static_cast<size_t>(count) * sizeof(float), {});
}

// The transformed tiles of one block, and the sums of a weight gradient behind them.
std::shared_ptr<Buffer> allocate_scratch(const WinogradShape& s, bool with_sums) {
  const int64_t zeros = 6 * std::max(s.channels, s.outputs);
  const int64_t position = kWinogradBlock * (s.channels + s.outputs) + 32 + (with_sums ? s.channels * s.outputs : 0);
  return allocate(zeros + kWinogradPositions * position);
}

// As many images as fill half a megabyte, so that a chunk's weight sums are worth their transform.
int64_t images_per_chunk(const WinogradShape& s) {
  const int64_t largest = s.height * s.width * std::max(s.channels, s.outputs);
  return std::clamp<int64_t>((int64_t{1} << 17) / std::max<int64_t>(largest, 1), 1, 32);
}

// body(chunk, shape of its images, first image)
template <typename F>
void for_each_chunk(const WinogradShape& s, F&& body) {
  const int64_t per_chunk = images_per_chunk(s);
  parallel_for((s.images + per_chunk - 1) / per_chunk, [&](int64_t chunk) {
    WinogradShape part = s;
    part.images = std::min(per_chunk, s.images - chunk * per_chunk);
    body(chunk, part, chunk * per_chunk);
  });
}

// gw = sum over chunks in their order. A chunk's sums come back from the 36 positions while they are in the cache.
template <typename Element>
void backward_weight(const WinogradKernels& kernels, const WinogradShape& s, const float* gy, const Element* x,
                     float step, float* gw) {
  const int64_t pixels = s.height * s.width, weights = 9 * s.channels * s.outputs;
  const int64_t per_chunk = images_per_chunk(s);
  std::vector<std::shared_ptr<Buffer>> partial(static_cast<size_t>((s.images + per_chunk - 1) / per_chunk));
  for_each_chunk(s, [&](int64_t chunk, const WinogradShape& part, int64_t first) {
    const auto scratch = allocate_scratch(s, true);
    auto& mine = partial[static_cast<size_t>(chunk)] = allocate(weights);
    const float* part_gy = gy + first * pixels * s.outputs;
    const Element* part_x = x + first * pixels * s.channels;
    if constexpr (std::is_same_v<Element, float>)
      kernels.backward_weight(part, part_gy, part_x, step, floats(scratch), floats(mine));
    else
      kernels.backward_weight_codes(part, part_gy, part_x, step, floats(scratch), floats(mine));
  });
  std::memcpy(gw, floats(partial[0]), static_cast<size_t>(weights) * sizeof(float));
  for (size_t i = 1; i < partial.size(); ++i) loops().add(weights, gw, floats(partial[i]), gw);
}

}  // namespace

const WinogradKernels* winograd_kernels(int64_t channels, int64_t outputs) {
  if (channels % 8 != 0 || outputs % 8 != 0) return nullptr;
#if defined(__x86_64__)
  const auto fits = [&](const WinogradKernels& kernels) {
    return channels % kernels.lanes == 0 && outputs % kernels.lanes == 0;
  };
  if (selected_isa() >= Isa::avx512 && fits(avx512_winograd())) return &avx512_winograd();
  if (selected_isa() >= Isa::avx2) return &avx2_winograd();
#endif
  return &generic_winograd();
}

bool winograd_pays(const WinogradShape& s) {
  // Half of a tile outside the image, or few tiles for the transform of the weights, cost what the tiles save.
  constexpr int64_t kPixels = kWinogradTile * kWinogradTile;
  return 2 * s.height * s.width > kPixels * tiles_of(s) && s.images * tiles_of(s) >= kWinogradBlock;
}

void winograd_backward_input(const WinogradKernels& kernels, const WinogradShape& s, const float* gy, const float* w,
                             float* gx) {
  const auto transformed = allocate(kWinogradPositions * s.channels * s.outputs);
  kernels.transform_weight(s.channels, s.outputs, w, floats(transformed));
  const int64_t pixels = s.height * s.width;
  for_each_chunk(s, [&](int64_t, const WinogradShape& part, int64_t first) {
    const auto scratch = allocate_scratch(s, false);
    kernels.backward_input(part, gy + first * pixels * s.outputs, floats(transformed), floats(scratch),
                           gx + first * pixels * s.channels);
  });
}

void winograd_backward_weight(const WinogradKernels& kernels, const WinogradShape& s, const float* gy, const float* x,
                              float* gw) {
  backward_weight(kernels, s, gy, x, 1, gw);
}

void winograd_backward_weight(const WinogradKernels& kernels, const WinogradShape& s, const float* gy,
                              const uint8_t* codes, float step, float* gw) {
  backward_weight(kernels, s, gy, codes, step, gw);
}

}  // namespace apotnet
