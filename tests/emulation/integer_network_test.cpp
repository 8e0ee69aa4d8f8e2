// Integer networks on the CUDA path: against the CPU's engine step by step, against the float engine of the device, one
// by one and recorded.
#include <set>

#include "core/kernels/call.h"
#include "core/kernels/cuda/context.h"
#include "deploy/batch_network.h"
#include "deploy/compile.h"
#include "deploy/image_network.h"
#include "tests/emulation/runtime.h"
#include "tests/emulation/training.h"
#include "tests/support/check_data.h"
#include "tests/support/lively_model.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

QuantSettings quant_of(QuantizerVariant variant, int bits) {
  return settings_of(LevelMethod::apot, variant, bits).quant;
}

// The CPU's codes of an image as the device keeps them.
bool same_codes(const CodeFrame& layout, const Buffer& frame, const Tensor& codes, int64_t image) {
  const auto* own = reinterpret_cast<const uint8_t*>(const_cast<Buffer&>(frame).data());
  for (int64_t y = 0; y < layout.height; ++y)
    for (int64_t x = 0; x < layout.width; ++x) {
      const int64_t at = ((image * layout.height + y) * layout.width + x) * codes.size(3);
      for (int64_t c = 0; c < layout.channels; ++c) {
        const int expected = own[layout.offset(y, x) + c] - static_cast<int>(layout.zero);
        const auto byte = static_cast<uint8_t>(codes.raw()[at + c]);
        if (expected != (layout.zero > 0 ? static_cast<int8_t>(byte) : byte)) return false;
      }
    }
  return true;
}

// An integer network on both engines, step by step.
class SideBySide {
 public:
  SideBySide(Model& model, const Tensor& images)
      : lowered_(lower(model, images.size(1), images.size(2), images.size(3))),
        count_(images.size(0)),
        on_device_(make_batch_steps(lowered_.steps, kCuda)),
        memory_(lowered_.plan, count_, kCuda),
        images_(static_cast<size_t>(count_)) {
    memory_.planes[0] = images.on(kCuda);
    for (int64_t n = 0; n < count_; ++n) {
      NetworkMemory& own = images_[static_cast<size_t>(n)];
      for (const Shape& shape : lowered_.plan.planes) own.planes.emplace_back(shape, DType::f32);
      for (const CodeFrame& frame : lowered_.plan.frames) {
        own.frames.push_back(Buffer::allocate(static_cast<size_t>(frame.bytes()), {}));
        frame.clear(own.frames.back()->data());
      }
      const Tensor image = images.part(n, 1);
      own.planes[0].copy_from({image.raw(), image.bytes()});
    }
  }

  // Every plane and frame that was written so far is the same after each step but the float kernels, whose outputs the
  // device takes from the CPU. Returns how many codes differ from image to image, for data that are all alike.
  void check() {
    for (size_t i = 0; i < lowered_.steps.size(); ++i) {
      INFO(describe(lowered_.steps[i], false));
      StepSettings& settings = lowered_.steps[i];
      for_each_slot(
          settings, [&](size_t& plane) { planes_.insert(plane); }, [&](size_t& frame) { frames_.insert(frame); });
      const auto step = make_step(settings);
      for (NetworkMemory& own : images_) step->run(own, 0, step->rows());
      on_device_[i](memory_);
      if (const auto* kernel = std::get_if<KernelStepSettings>(&settings))
        take_from_cpu(kernel->output);
      else
        compare();
    }
  }

 private:
  void take_from_cpu(size_t plane) {
    Tensor all = memory_.planes[plane].on({});
    for (int64_t n = 0; n < count_; ++n) {
      const Tensor& own = images_[static_cast<size_t>(n)].planes[plane];
      CHECK(doubles(own)[0] == doctest::Approx(doubles(all.part(n, 1))[0]).epsilon(1e-4));
      all.part(n, 1).copy_from({own.raw(), own.bytes()});
    }
    memory_.planes[plane].copy_from({all.raw(), all.bytes()});
  }
  void compare() const {
    for (const size_t plane : planes_) {
      const Tensor all = memory_.planes[plane].on({});
      for (int64_t n = 0; n < count_; ++n) {
        const Tensor& own = images_[static_cast<size_t>(n)].planes[plane];
        CHECK(same_bits(all.part(n, 1).reshaped(own.shape()), own));
      }
    }
    for (const size_t frame : frames_) {
      const Tensor codes = memory_.codes[frame].on({});
      for (int64_t n = 0; n < count_; ++n)
        CHECK(same_codes(lowered_.plan.frames[frame], *images_[static_cast<size_t>(n)].frames[frame], codes, n));
    }
  }

  LoweredNetwork lowered_;
  const int64_t count_;
  std::vector<BatchStep> on_device_;
  BatchMemory memory_;
  std::vector<NetworkMemory> images_;
  std::set<size_t> planes_, frames_;  // in use so far
};

}  // namespace

TEST_CASE("cuda: integer ResNet-20: every code of every frame and every float plane is the CPU's, 2 to 5 bits") {
  const PlainArithmetic plain(/*fuses_steps=*/true);
  const BackendScope reference(Backend::reference);  // for the CPU's ends
  const Tensor images = normal_images(3);
  for (const auto variant : {QuantizerVariant::cifar, QuantizerVariant::imagenet})
    for (const int bits : {2, 3, 4, 5}) {
      CAPTURE(bits);
      const auto model = lively_model("resnet20", quant_of(variant, bits), 60 + static_cast<uint64_t>(bits));
      SideBySide(*model, images).check();
    }
}

TEST_CASE("cuda: integer ResNet-18 and MobileNet-V2 on small images, step by step") {
  const PlainArithmetic plain(/*fuses_steps=*/true);
  const BackendScope reference(Backend::reference);
  for (const auto& [name, side] : {std::pair{"resnet18", 64}, {"mobilenet_v2", 32}}) {
    CAPTURE(name);
    const auto model = lively_model(name, quant_of(QuantizerVariant::imagenet, 4), 71);
    SideBySide(*model, normal_images(1, side)).check();
  }
}

TEST_CASE("cuda: the integer network has the logits of the device's float engine, all bits, at any batch size") {
  const PlainArithmetic plain(/*fuses_steps=*/true);
  for (const int bits : {3, 4}) {
    CAPTURE(bits);
    const auto model = lively_model("resnet20", quant_of(QuantizerVariant::cifar, bits), 73);
    const auto network = compile(*model, 32, 32, 3, kCuda);
    const auto on_cpu = compile(*model, 32, 32, 3);
    std::vector<Tensor> images, logits;
    for (const int64_t count : {3, 1, 5}) {
      images.push_back(normal_images(count, 32, static_cast<uint64_t>(80 + count)));
      logits.push_back(network->run(images.back()));
      const BackendScope reference(Backend::reference);
      // Only the ends differ, by rounding; codes that it tips over would show as more.
      CHECK(relative_difference(logits.back(), on_cpu->run(images.back())) < 1e-4);
    }
    model->move_to(kCuda);
    for (size_t i = 0; i < images.size(); ++i)
      CHECK(same_bits(logits[i], evaluated(*model, images[i].on(kCuda)).on({})));
  }
}

TEST_CASE("cuda: every kernel of an integer ResNet-20 agrees with the reference on the same input") {
  const PlainArithmetic plain(/*fuses_steps=*/true);
  const auto model = lively_model("resnet20", quant_of(QuantizerVariant::imagenet, 4), 74);
  const auto network = compile(*model, 32, 32, 3, kCuda);
  const BackendScope scope(Backend::checked);
  CHECK_NOTHROW(network->run(normal_images(2)));
}

TEST_CASE("cuda: a recorded integer network repeats the bits of its steps one by one, and allocates nothing") {
  const PlainArithmetic plain(/*fuses_steps=*/true);
  const auto model = lively_model("resnet20", quant_of(QuantizerVariant::cifar, 4), 75);
  LoweredNetwork lowered = lower(*model, 32, 32, 3);
  const std::vector<BatchStep> steps = make_batch_steps(lowered.steps, kCuda);
  BatchMemory eager(lowered.plan, 2, kCuda);
  const size_t output = lowered.plan.output;
  const BatchNetwork recorded(lowered.plan, lowered.steps, kCuda);
  size_t allocations = 0;
  for (uint64_t run = 0; run < 5; ++run) {
    CAPTURE(run);
    const Tensor images = normal_images(2, 32, 90 + run);
    eager.planes[0].copy_from({images.raw(), images.bytes()});
    for (const BatchStep& step : steps) step(eager);
    if (run == 3) allocations = emulation::allocation_count();
    const Tensor logits = recorded.run(images);
    CHECK(same_bits(logits, eager.planes[output].on({})));
    CHECK(same_bits(logits, recorded.run(images.on(kCuda)).on({})));
  }
  CHECK(emulation::allocation_count() == allocations);
}

TEST_CASE("cuda: the table of nodes of an integer ResNet-20, 4 bit") {
  const PlainArithmetic plain(/*fuses_steps=*/true);
  const auto model = lively_model("resnet20", quant_of(QuantizerVariant::cifar, 4), 76);
  LoweredNetwork lowered = lower(*model, 32, 32, 3);
  const std::vector<BatchStep> steps = make_batch_steps(lowered.steps, kCuda);
  BatchMemory memory(lowered.plan, 2, kCuda);
  memory.planes[0].fill(0.5);
  double bytes = 0;
  const auto nodes = cuda::Context::get().nodes_of([&] {
    for (const BatchStep& step : steps) step(memory);
  });
  for (const cuda::Node& node : nodes) bytes += static_cast<double>(node.reads + node.writes);
  MESSAGE(nodes.size(), " nodes, ", bytes / 2 / 1e6, " MB per image");
  CHECK(nodes.size() <= 26);
  CHECK(bytes / 2 <= 1.6e6);
}
