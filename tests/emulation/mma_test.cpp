// Products of small matrices by a warp, against plain loops over the matrices.
#include "core/kernels/cuda/mma.h"

#include "tests/support/check_data.h"

using namespace apotnet;
using namespace apotnet::test;
using namespace apotnet::cuda;

namespace {

constexpr int kRows = 16, kColumns = 8, kLanes = 32;

// Matrices of 8 bits, read out of shared memory as the convolutions do: a row by row, b column by column.
__global__ void codes_kernel(const uint8_t* a, const uint8_t* b, int32_t* sums) {
  using Row = Pack<Word, 4>;
  SHARED_ARRAY(Row, shared, (kRows + kColumns) * 2);
  auto* const bytes = reinterpret_cast<uint8_t*>(shared);
  for (int i = static_cast<int>(threadIdx.x); i < (kRows + kColumns) * 32; i += kThreads)
    bytes[i] = i < kRows * 32 ? a[i] : b[i - kRows * 32];
  __syncthreads();
  if (threadIdx.x >= kLanes) return;
  const int lane = static_cast<int>(threadIdx.x), row = lane / 4, pair = lane % 4;
  Word from_a[4], both[4];
  load_matrices(from_a, bytes + lane % 16 * 32 + lane / 16 * 16);
  load_matrices(both, bytes + kRows * 32 + lane % 8 * 32 + lane / 8 % 2 * 16);
  const Word from_b[2] = {both[0], both[1]};
  int32_t own[4];
  for (int i = 0; i < 4; ++i) own[i] = sums[(row + i / 2 * 8) * kColumns + 2 * pair + i % 2];
  multiply_codes(own, from_a, from_b);
  for (int i = 0; i < 4; ++i) sums[(row + i / 2 * 8) * kColumns + 2 * pair + i % 2] = own[i];
}

// a [16, 16] row by row and b [8, 16] column by column, word by word.
__global__ void bf16_kernel(const BFloat16* a, const BFloat16* b, float* sums) {
  if (threadIdx.x >= kLanes) return;
  const int lane = static_cast<int>(threadIdx.x), row = lane / 4, pair = lane % 4;
  const auto word = [pair](const BFloat16* line, int half) {
    const BFloat16* place = line + half * 8 + 2 * pair;
    return pair_of(place[0], place[1]);
  };
  const Word from_a[4] = {word(a + row * 16, 0), word(a + (row + 8) * 16, 0), word(a + row * 16, 1),
                          word(a + (row + 8) * 16, 1)};
  const Word from_b[2] = {word(b + row * 16, 0), word(b + row * 16, 1)};
  float own[4];
  for (int i = 0; i < 4; ++i) own[i] = sums[(row + i / 2 * 8) * kColumns + 2 * pair + i % 2];
  multiply_bf16(own, from_a, from_b);
  for (int i = 0; i < 4; ++i) sums[(row + i / 2 * 8) * kColumns + 2 * pair + i % 2] = own[i];
}

// a [16, inner], b [8, inner], sums [16, 8].
template <typename Product>
std::vector<double> plain_products(const std::vector<double>& start, int inner, Product&& product) {
  std::vector<double> sums = start;
  for (int row = 0; row < kRows; ++row)
    for (int column = 0; column < kColumns; ++column)
      for (int i = 0; i < inner; ++i)
        sums[static_cast<size_t>(row * kColumns + column)] += product(row * inner + i, column * inner + i);
  return sums;
}

}  // namespace

TEST_CASE("cuda: a warp multiplies matrices of codes exactly") {
  Context::get();
  for (const uint64_t seed : {201, 202, 203}) {
    CAPTURE(seed);
    Philox random = random_numbers(seed);
    Tensor a({kRows, 32}, DType::u8), b({kColumns, 32}, DType::u8), sums({kRows, kColumns}, DType::s32);
    // Extremes are frequent: 255 by -128 and by 127, zeros.
    for (uint8_t& code : a.data<uint8_t>()) code = static_cast<uint8_t>(random.below(3) ? random.below(256) : 255);
    for (uint8_t& code : b.data<uint8_t>()) {
      const uint8_t extremes[] = {0x80, 0x7F, 0};
      code = random.below(2) ? static_cast<uint8_t>(random.below(256)) : extremes[random.below(3)];
    }
    if (seed == 203) {
      std::ranges::fill(a.data<uint8_t>(), uint8_t{255});
      std::ranges::fill(b.data<uint8_t>(), uint8_t{0x80});
    }
    for (int32_t& sum : sums.data<int32_t>()) sum = static_cast<int32_t>(random.below(2000000)) - 1000000;
    const std::vector<double> expected = plain_products(doubles(sums), 32, [&](int i, int j) {
      return a.data<uint8_t>()[static_cast<size_t>(i)] *
             static_cast<double>(static_cast<int8_t>(b.data<uint8_t>()[static_cast<size_t>(j)]));
    });
    Tensor on_device = sums.on(kCuda);
    const Tensor device_a = a.on(kCuda), device_b = b.on(kCuda);
    launch({"codes", 0, 0}, codes_kernel, 1, input<uint8_t>(device_a), input<uint8_t>(device_b),
           output<int32_t>(on_device));
    CHECK(doubles(on_device.on({})) == expected);
  }
}

TEST_CASE("cuda: a warp multiplies matrices of bf16") {
  Context::get();
  for (const bool integers : {true, false}) {
    CAPTURE(integers);
    Philox random = random_numbers(204);
    Tensor a({kRows, 16}, DType::bf16), b({kColumns, 16}, DType::bf16), sums({kRows, kColumns}, DType::f32);
    const auto value = [&] {
      return bf16_of(integers ? static_cast<float>(random.below(511)) - 255 : static_cast<float>(random.normal()));
    };
    for (BFloat16& x : a.data<BFloat16>()) x = value();
    for (BFloat16& x : b.data<BFloat16>()) x = value();
    for (float& sum : sums.data<float>()) sum = integers ? static_cast<float>(random.below(1000)) : 0.5f;
    const std::vector<double> expected = plain_products(doubles(sums), 16, [&](int i, int j) {
      return static_cast<double>(float_of(a.data<BFloat16>()[static_cast<size_t>(i)])) *
             static_cast<double>(float_of(b.data<BFloat16>()[static_cast<size_t>(j)]));
    });
    Tensor on_device = sums.on(kCuda);
    const Tensor device_a = a.on(kCuda), device_b = b.on(kCuda);
    launch({"bf16", 0, 0}, bf16_kernel, 1, input<BFloat16>(device_a), input<BFloat16>(device_b),
           output<float>(on_device));
    const std::vector<double> found = doubles(on_device.on({}));
    for (size_t i = 0; i < found.size(); ++i)
      CHECK(std::abs(found[i] - expected[i]) <= (integers ? 0 : 1e-5 * (1 + std::abs(expected[i]))));
  }
}
