#include <algorithm>
#include <cstring>

#include "core/base/error.h"
#include "core/kernels/cpu/codes/kernels.h"

namespace apotnet {
namespace {

std::string forced;

}  // namespace

const std::vector<CodesConvKernel>& codes_conv_kernels() {
  static const std::vector<CodesConvKernel> kernels {
#if defined(__x86_64__)
    {"winograd-vnni", Isa::vnni, make_winograd_vnni},   // 3x3 up to 4 bits
        {"direct-vnni", Isa::vnni, make_direct_vnni},   // everything
        {"winograd16", Isa::avx2, make_winograd_avx2},  // 3x3, 2 and 3 bits, from 32 channels on
        {"lookup", Isa::avx2, make_lookup},             // stride 1, 2 bits
        {"direct16", Isa::avx2, make_direct_avx2},      // where no pair of products saturates
#endif
        {"portable", Isa::generic, make_portable},  // everything
        {"plain", Isa::generic, make_plain},        // the definition
  };
  return kernels;
}

std::unique_ptr<CodesConv> make_codes_conv(const CodesConvShape& shape, const CodesConvOperands& operands) {
  for (const bool only_forced : {true, false})
    for (const CodesConvKernel& kernel : codes_conv_kernels())
      if (kernel.isa <= selected_isa() && (!only_forced || kernel.name == forced))
        if (auto made = kernel.make(shape, operands)) return made;
  fail(ErrorCategory::internal, "no convolution of codes fits; the plain loop should");
}

void force_codes_conv(const std::string& name) {
  std::string known;
  for (const CodesConvKernel& kernel : codes_conv_kernels()) known += (known.empty() ? "" : ", ") + kernel.name;
  if (!name.empty() &&
      std::ranges::find(codes_conv_kernels(), name, &CodesConvKernel::name) == codes_conv_kernels().end())
    fail(ErrorCategory::usage, "no convolution kernel is called ", name, "; known are ", known);
  forced = name;
}

void CodeFrame::fill(const uint8_t* image, int64_t image_channels, uint8_t* frame) const {
  if (image_channels == channels) {
    for (int64_t y = 0; y < height; ++y)
      std::memcpy(frame + offset(y, 0), image + y * width * channels, static_cast<size_t>(width * channels));
    return;
  }
  for (int64_t y = 0; y < height; ++y)
    for (int64_t x = 0; x < width; ++x)
      std::memcpy(frame + offset(y, x), image + (y * width + x) * image_channels, static_cast<size_t>(image_channels));
}

}  // namespace apotnet
