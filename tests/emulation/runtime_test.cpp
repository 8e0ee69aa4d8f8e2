// Memory, order and recorded work of the CUDA back end, in emulation.
#include "tests/emulation/runtime.h"
#include "core/base/error.h"
#include "core/kernels/accelerator.h"
#include "core/kernels/call.h"
#include "core/kernels/cuda/context.h"
#include "tests/support/backends.h"

using namespace apotnet;
using namespace apotnet::test;
using cuda::kCuda;

namespace {

Tensor on_device(const std::vector<float>& values) {
  cuda_device();
  return Tensor::from<float>({static_cast<int64_t>(values.size())}, values).on(kCuda);
}

}  // namespace

TEST_CASE("cuda: tensors go to the device and back, and only so") {
  const Tensor there = on_device({1, 2, 3});
  CHECK(doubles(there.on({})) == std::vector<double>{1, 2, 3});
  CHECK(doubles(there.clone().on({})) == std::vector<double>{1, 2, 3});
  CHECK_THROWS_WITH_AS(there.data<float>(), doctest::Contains("lies on another device"), Error);
  CHECK_THROWS_AS(there.item(), Error);
  Tensor filled = Tensor::full({5}, DType::s32, -7, kCuda), bytes = Tensor::full({3}, DType::u8, 9, kCuda);
  CHECK(doubles(filled.on({})) == std::vector<double>(5, -7));
  CHECK(doubles(bytes.on({})) == std::vector<double>(3, 9));
  CHECK(doubles(Tensor::zeros({4}, DType::f64, kCuda).on({})) == std::vector<double>(4, 0));
  const std::vector<int32_t> numbers{1, 2, 3, 4, 5};
  filled.copy_from(std::as_bytes(std::span(numbers)));
  CHECK(doubles(filled.on({})) == std::vector<double>{1, 2, 3, 4, 5});
}

TEST_CASE("cuda: kernels run where their tensors lie, and a mixture is an error") {
  const Tensor x = on_device({-1, 2, -3});
  Tensor y = x.like(x.shape()), host({3}, DType::f32);
  call("relu", &ElementwiseKernels::relu, x, y);
  CHECK(doubles(y.on({})) == std::vector<double>{0, 2, 0});
  CHECK_THROWS_WITH_AS(call("relu", &ElementwiseKernels::relu, x, host), doctest::Contains("of the host"), Error);
}

TEST_CASE("cuda: a device that is not there or too old is refused in one line") {
  const auto refused = [](int number, const std::string& message) {
    try {
      cuda::open_device(number);
      FAIL("was opened");
    } catch (const Error& error) {
      CHECK(error.category() == ErrorCategory::unavailable);
      CHECK(std::string(error.what()) == message);
    }
  };
  refused(1, "no CUDA device 1: there is cuda:0 alone");
  emulation::set_device_count(3);
  CHECK(cuda::open_device(2).starts_with("emulated device (sm_90, "));
  refused(3, "no CUDA device 3: there are cuda:0 to cuda:2");
  emulation::set_compute_major(7);
  refused(1,
          "the CUDA device 1, emulated device, is of compute capability 7.0; 8.0 (Ampere) or newer is needed; "
          "use --device cpu");
  emulation::set_compute_major(9);
  emulation::set_driver_version(12000);
  refused(1, "the driver is for CUDA 12.0; one for 12.1 or newer is needed; use --device cpu");
  emulation::set_driver_version(CUDART_VERSION);
  emulation::set_device_count(0);
  refused(0, "no CUDA device (driver not found); use --device cpu");
  emulation::set_device_count(1);
}

TEST_CASE("cuda: freed memory is handed out again for the same size") {
  on_device({1, 2, 3, 4, 5, 6, 7});
  const size_t before = emulation::allocation_count();
  for (int i = 0; i < 3; ++i) on_device({1, 2, 3, 4, 5, 6, 7});
  CHECK(emulation::allocation_count() == before);
}

TEST_CASE("cuda: unusable alphas, equal weights and unknown labels raise the flag that the host looks at later") {
  cuda_device().take_trouble();
  const LevelSet& levels = LevelSet::for_weights(LevelMethod::apot, 4);
  const Tensor w = on_device({0.5f, -0.25f, 1, 2}), same = on_device({1, 1, 1, 1});
  Quantized q = Quantized::like(w, levels, true);
  Tensor w_hat = w.like(w.shape()), mean = w.like({}), std = w.like({});
  const auto quantize = [&](double alpha) {
    cuda_kernels().quantize->quantize_weight(w, Tensor::full({}, DType::f32, alpha, kCuda), q);
    return cuda_device().take_trouble();
  };
  CHECK_FALSE(quantize(1.5));
  for (const double alpha : {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(), 1e300}) CHECK(quantize(alpha));
  CHECK_FALSE(cuda_device().take_trouble());
  cuda_kernels().norm->weight_norm(w, w_hat, mean, std);
  CHECK_FALSE(cuda_device().take_trouble());
  cuda_kernels().norm->weight_norm(same, w_hat, mean, std);
  CHECK(cuda_device().take_trouble());

  Tensor logits = w.reshaped({2, 2}), loss = w.like({}), probabilities = w.like({2, 2});
  const auto cross_entropy = [&](int32_t label) {
    const Tensor labels = Tensor::from<int32_t>({2}, {1, label}).on(kCuda);
    cuda_kernels().loss->cross_entropy(logits, labels, 0, loss, probabilities);
    return cuda_device().take_trouble();
  };
  CHECK_FALSE(cross_entropy(0));
  CHECK(cross_entropy(2));
  CHECK(cross_entropy(-1));
}

TEST_CASE("cuda: work that fails while it is recorded leaves the stream usable") {
  for (const bool fuses : {false, true}) {
    CAPTURE(fuses);
    Tensor x = on_device({1, 2, 3});
    cuda::Context::get().set_fuses_steps(fuses);
    const auto work = cuda_device().repeat();
    const auto body = [&](bool fails) {
      return [&x, fails] {
        call("accumulate", &ElementwiseKernels::accumulate, x, x);
        if (fails) x.on({});
      };
    };
    // Traced the first call fails, and nothing of it runs; else it runs, and the recording fails.
    if (!fuses) work->run(body(true));
    CHECK_THROWS_AS(work->run(body(true)), Error);
    work->run(body(false));
    work->run(body(false));
    CHECK(doubles(x.on({})) == (fuses ? std::vector<double>{4, 8, 12} : std::vector<double>{8, 16, 24}));
    CHECK(work->nodes() == 1);
  }
  cuda::Context::get().set_fuses_steps(true);
}

TEST_CASE("cuda: work for which there is not enough memory at once is run, and never recorded") {
  cuda_device();
  cuda::Context& context = cuda::Context::get();
  context.set_fuses_steps(false);
  context.pool()->trim();
  const auto work = cuda_device().repeat();
  emulation::set_memory_left(1000);
  // Each gives way to the other: as many bytes are there at the end as at the beginning, and never both.
  for (int i = 0; i < 4; ++i)
    CHECK_NOTHROW(work->run([] {
      Tensor({600}, DType::u8, cuda::kCuda);
      Tensor({700}, DType::u8, cuda::kCuda);
    }));
  CHECK(work->nodes() == 0);
  emulation::set_memory_left(SIZE_MAX);
  context.set_fuses_steps(true);
}

TEST_CASE("cuda: what a pool keeps of other sizes is given back before there is no memory left") {
  cuda_device();
  const auto pool = std::make_shared<cuda::Pool>();
  emulation::set_memory_left(1000);
  std::byte* const former = pool->allocate(700).data;
  pool->release(former, 700);
  CHECK(pool->reserved() == 700);
  const DeviceBlock other = pool->allocate(800);
  CHECK(pool->reserved() == 800);
  CHECK_THROWS_WITH_AS(pool->allocate(700), doctest::Contains("no memory left; use a smaller batch"), Error);

  emulation::set_memory_left(SIZE_MAX);

  // So is what the context's own pool keeps while another one serves.
  cuda::Context& context = cuda::Context::get();
  const std::shared_ptr<cuda::Pool> own = context.pool();
  own->trim();
  Tensor({5000}, DType::u8, cuda::kCuda);
  const size_t reserved = own->reserved();
  context.set_pool(std::make_shared<cuda::Pool>());
  emulation::set_memory_left(1000);
  CHECK_NOTHROW(Tensor({5500}, DType::u8, cuda::kCuda));
  CHECK(own->reserved() == reserved - 5000);
  CHECK_THROWS_AS(Tensor({7000}, DType::u8, cuda::kCuda), Error);
  emulation::set_memory_left(SIZE_MAX);
  context.set_pool(own);
  pool->release(other.data, 800);
}
