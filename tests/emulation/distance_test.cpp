// What a byte keeps of a rounded value; with a kernel of its own, so only in the emulation.
#include "core/kernels/cuda/step/distance.h"
#include "core/kernels/cuda/kernels.h"
#include "tests/emulation/convolutions_of_codes.h"

using namespace apotnet;
using namespace apotnet::test;
using namespace apotnet::cuda;

namespace {

// For each value [n]: its code, its distance and what that counts for.
__global__ void distance_kernel(int count, Levels levels, float alpha, const float* values, int32_t* codes,
                                int32_t* distances, float* factors) {
  SHARED_ARRAY(uint8_t, table, kTableSize);
  SHARED_ARRAY(uint8_t, units, kDistanceTable);
  fill_table(levels, table);
  Distances::fill(levels, units);
  __syncthreads();
  const ClippedQuotient quotient(alpha);
  const Distances in_bytes(levels, units);
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kThreads) {
    const float z = quotient(values[i]);
    const int code = project<uint8_t>(z, levels, table), distance = in_bytes.of(values[i], alpha, z, code);
    codes[i] = code;
    distances[i] = distance;
    factors[i] = in_bytes.alpha_factor(distance, code);
  }
}

// Half the widest gap beside a code.
double half_gap(const LevelSet& levels, int64_t code) {
  const auto& codes = levels.codes();
  int64_t gap = 0;
  for (size_t i = 1; i < codes.size(); ++i)
    if (codes[i] == code || codes[i - 1] == code) gap = std::max<int64_t>(gap, codes[i] - codes[i - 1]);
  return static_cast<double>(gap) / 2;
}

}  // namespace

TEST_CASE("cuda: a byte keeps what the gradients of a quantizer need of a value") {
  Context::get();
  Philox random = random_numbers(511);
  const float alpha = 1.7f;
  for (const LevelMethod method : {LevelMethod::apot, LevelMethod::pot, LevelMethod::uniform})
    for (const int bits : {2, 3, 4, 5}) {
      const LevelSet& levels = LevelSet::for_activations(method, bits);
      if (!levels.fits_u8()) continue;
      CAPTURE(bits);
      std::vector<float> values{0, alpha, std::nextafter(alpha, 2.0f), std::nextafter(alpha, 0.0f), 1e-30f, 100};
      for (int i = 0; i < 1000; ++i) values.push_back(std::max(0.0f, random.uniform() * 2.2f - 0.2f));
      const auto count = static_cast<int64_t>(values.size());
      const Tensor on_device = Tensor::from<float>({count}, values).on(kCuda);
      Tensor codes({count}, DType::s32, kCuda), distances({count}, DType::s32, kCuda),
          factors({count}, DType::f32, kCuda);
      launch({"distances", 0, 0}, distance_kernel, 1u, static_cast<int>(count), Levels(levels), alpha,
             input<float>(on_device), output<int32_t>(codes), output<int32_t>(distances), output<float>(factors));
      const auto found_codes = doubles(codes.on({})), found = doubles(distances.on({})),
                 found_factors = doubles(factors.on({}));
      const auto k = static_cast<double>(levels.k());
      for (size_t i = 0; i < values.size(); ++i) {
        CAPTURE(values[i]);
        const int distance = static_cast<int>(found[i]);
        CHECK(Distances::is_above(distance) == (values[i] > alpha));
        CHECK(Distances::is_positive(distance) == (values[i] > 0));
        const double exact = values[i] > alpha ? k : found_codes[i] - k * values[i] / alpha;
        CHECK(std::abs(found_factors[i] - exact) <= half_gap(levels, static_cast<int64_t>(found_codes[i])) / 63);
      }
    }
}
