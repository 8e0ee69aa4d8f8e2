#include "deploy/image_network.h"

#include <chrono>
#include <cstring>

#include "core/base/error.h"
#include "core/base/parallel.h"
#include "core/kernels/call.h"
#include "core/tensor/buffer.h"

namespace apotnet {
namespace {

constexpr int64_t kImagesPerCall = 4;

}  // namespace

void IntegerNetwork::require_fitting(const Tensor& images) const {
  const Shape& shape = images.shape();
  require(shape.rank() == 4 && Shape({1, shape[1], shape[2], shape[3]}) == plan_.input, "integer network: images ",
          shape, ", made for ", plan_.input);
}

ImageNetwork::ImageNetwork(NetworkPlan plan, std::vector<StepSettings> steps) : IntegerNetwork(std::move(plan)) {
  for (StepSettings& step : steps) {
    lines_.push_back(describe(step, /*names_kernel=*/true));
    steps_.push_back(make_step(std::move(step)));
  }
}

std::unique_ptr<NetworkMemory> ImageNetwork::take_memory() const {
  {
    std::lock_guard lock(mutex_);
    if (!unused_.empty()) {
      auto memory = std::move(unused_.back());
      unused_.pop_back();
      return memory;
    }
  }
  auto memory = std::make_unique<NetworkMemory>();
  for (const Shape& shape : plan_.planes) memory->planes.emplace_back(shape, DType::f32);
  for (const CodeFrame& frame : plan_.frames) {
    memory->frames.push_back(Buffer::allocate(static_cast<size_t>(frame.bytes()), {}));
    frame.clear(memory->frames.back()->data());  // what is around the image stays so
  }
  return memory;
}

void ImageNetwork::run_image(const float* image, NetworkMemory& memory, float* logits) const {
  std::memcpy(memory.planes[0].raw(), image, memory.planes[0].bytes());
  for (size_t i = 0; i < steps_.size(); ++i) {
    const NetworkStep& step = *steps_[i];
    const auto start = std::chrono::steady_clock::now();
    parallel_ranges(step.rows(), step.rows_per_call(),
                    [&](int64_t row, int64_t end) { step.run(memory, row, end - row); });
    if (detail::profiling())
      detail::add_kernel_time(lines_[i],
                              std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
  }
  const Tensor& output = memory.planes[plan_.output];
  std::memcpy(logits, output.raw(), output.bytes());
}

Tensor ImageNetwork::run(const Tensor& images) const {
  require_fitting(images);
  Tensor logits({images.size(0), classes()}, DType::f32);
  const int64_t image_size = plan_.input.elements();
  const float* from = images.data<float>().data();
  float* to = logits.data<float>().data();
  const auto run_images = [&](int64_t first, int64_t end) {
    auto memory = take_memory();
    for (int64_t i = first; i < end; ++i) run_image(from + i * image_size, *memory, to + i * classes());
    std::lock_guard lock(mutex_);
    unused_.push_back(std::move(memory));
  };
  // A call from inside a parallel loop is serial: with several images the loop over rows is.
  parallel_ranges(images.size(0), kImagesPerCall, run_images);
  return logits;
}

}  // namespace apotnet
