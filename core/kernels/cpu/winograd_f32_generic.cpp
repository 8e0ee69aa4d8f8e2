#include "core/kernels/cpu/winograd_f32.h"

namespace apotnet {
namespace winograd_generic {
constexpr const char* kName = "generic";
constexpr int64_t kLanes = 4;
typedef float Vector __attribute__((vector_size(16)));

// 8 sums, 2 factors and the broadcast one fit the 16 registers of a plain x86-64.
constexpr int kRowsOfTwo = 4, kRowsOfOne = 8, kRowsMultiple = 8, kOutputsOfTwo = 4, kOutputsOfOne = 4;

inline Vector multiply_add(float a, Vector b, Vector c) { return a * b + c; }
inline Vector load(const uint8_t* codes) {
  return Vector{static_cast<float>(codes[0]), static_cast<float>(codes[1]), static_cast<float>(codes[2]),
                static_cast<float>(codes[3])};
}

#include "core/kernels/cpu/winograd_f32_body.h"
}  // namespace winograd_generic

const WinogradKernels& generic_winograd() { return winograd_generic::kWinograd; }

}  // namespace apotnet
