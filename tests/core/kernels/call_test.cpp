#include "core/kernels/call.h"

#include "core/base/error.h"
#include "tests/support/check_data.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

const Tensor kPlain = Tensor::from<float>({2, 2}, {1.0f, -2.0f, 0.0f, 100.0f});

Tensor changed(size_t i, float value) {
  Tensor result = kPlain.clone();
  result.data<float>()[i] = value;
  return result;
}

}  // namespace

TEST_CASE("checked: rounding passes, anything more is an error naming kernel, element and both values") {
  CHECK_NOTHROW(detail::compare_outputs("conv2d", kPlain, kPlain));
  CHECK_NOTHROW(detail::compare_outputs("conv2d", changed(2, 0.01f), kPlain));
  CHECK_THROWS_WITH_AS(detail::compare_outputs("conv2d", changed(1, 2), kPlain),
                       "kernel conv2d: element 1 of an output of shape [2, 2] is 2, the reference says -2", Error);
  CHECK_THROWS_AS(detail::compare_outputs("conv2d", changed(0, 1.03f), kPlain), Error);
}

TEST_CASE("checked: integers must be equal") {
  const Tensor a = Tensor::from<uint8_t>({2}, {7, 200}), b = Tensor::from<uint8_t>({2}, {7, 201});
  CHECK_NOTHROW(detail::compare_outputs("quantize_activation", a, a));
  CHECK_THROWS_AS(detail::compare_outputs("quantize_activation", a, b), Error);
}

TEST_CASE("checked: not-a-number and infinity agree with themselves only") {
  for (const float odd : {std::nanf(""), INFINITY}) {
    CHECK_NOTHROW(detail::compare_outputs("relu", changed(0, odd), changed(0, odd)));
    CHECK_THROWS_AS(detail::compare_outputs("relu", changed(0, odd), kPlain), Error);
    CHECK_THROWS_AS(detail::compare_outputs("relu", kPlain, changed(0, odd)), Error);
  }
}

TEST_CASE("checked: other shapes and types than the reference's are errors") {
  CHECK_THROWS_AS(detail::compare_outputs("relu", kPlain.reshaped({4}), kPlain), Error);
  CHECK_THROWS_AS(detail::compare_outputs("relu", kPlain.to(DType::f64), kPlain), Error);
}

TEST_CASE("call: the back end is the selected one, and float64 always the reference") {
  CHECK(selected_backend() == Backend::cpu);
  for (const Backend backend : {Backend::reference, Backend::cpu, Backend::checked}) {
    const BackendScope scope(backend);
    CHECK(selected_backend() == backend);
    for (const DType dtype : {DType::f32, DType::f64}) {
      Tensor y(kPlain.shape(), dtype);
      call("relu", &ElementwiseKernels::relu, kPlain.to(dtype), y);
      CHECK(doubles(y) == std::vector<double>{1, 0, 0, 100});
    }
    Tensor sum = kPlain.clone();  // an output that is an input too is not computed twice
    call("accumulate", &ElementwiseKernels::accumulate, kPlain, sum);
    CHECK(doubles(sum) == std::vector<double>{2, -4, 0, 200});
  }
  CHECK(selected_backend() == Backend::cpu);
}

TEST_CASE("call: profiling counts calls by kernel, longest first") {
  profile_kernels(true);
  Tensor y = kPlain.clone();
  for (int i = 0; i < 3; ++i) call("relu", &ElementwiseKernels::relu, kPlain, y);
  call("scale", &ElementwiseKernels::scale, kPlain, 2.0, y);
  const std::vector<KernelTime> times = kernel_times();
  profile_kernels(false);
  REQUIRE(times.size() == 2);
  CHECK(times[0].seconds >= times[1].seconds);
  for (const KernelTime& time : times) CHECK(time.calls == (time.name == "relu" ? 3 : 1));
  CHECK(kernel_times().empty());
}
