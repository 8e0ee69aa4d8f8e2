#include "core/kernels/pool.h"

#include <cmath>
#include <limits>

#include "tests/support/backends.h"

using namespace apotnet;
using namespace apotnet::test;

TEST_CASE("kernels: max pooling equals the reference bit for bit, ties and not-a-number included") {
  Philox random = random_numbers(161);
  for (const PoolGeometry& geometry :
       {PoolGeometry{3, 2, 1}, PoolGeometry{2, 2, 0}, PoolGeometry{3, 1, 1}, PoolGeometry{5, 3, 2}})
    for (const Shape& shape : {Shape{2, 9, 8, 5}, Shape{1, 14, 17, 64}, Shape{3, 5, 5, 1}}) {
      Tensor x = random_tensor(shape, DType::f32, random);
      check_data(x);
      for (float& value : x.data<float>()) value = std::round(value * 3);  // many ties
      x.data<float>()[3] = std::numeric_limits<float>::quiet_NaN();
      const Shape out{shape[0], geometry.output_size(shape[1]), geometry.output_size(shape[2]), shape[3]};
      const auto run = [&](const PoolKernels& kernels) {
        Tensor y(out, DType::f32), position(out, DType::s32);
        kernels.max_pool(x, geometry, y, position);
        return std::vector<Tensor>{y, position};
      };
      const auto plain = run(*reference_kernels().pool);
      for (const Kernels* kernels : fast_backends()) {
        const auto fast = same_for_all_thread_counts([&] { return run(*kernels->pool); });
        for (size_t i = 0; i < fast.size(); ++i) CHECK(same_bits(fast[i], plain[i]));
      }
    }
}
