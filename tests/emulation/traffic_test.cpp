// Launches of a recorded training step, and the bytes that each reads and writes: known without computing anything.
#include <algorithm>
#include <cstdio>
#include <map>

#include "core/kernels/call.h"
#include "core/kernels/cuda/step/forward_chain.h"
#include "tests/emulation/runtime.h"
#include "tests/emulation/training.h"

using namespace apotnet;
using namespace apotnet::test;

namespace {

struct Traffic {
  size_t nodes = 0;
  double reads = 0, writes = 0;
};

// The launches of the step that DeviceSteps (tools/training) records for a batch of 8-bit images.
std::vector<cuda::Node> nodes_of_step(const ModelSettings& settings, const Shape& batch) {
  cuda_device();
  emulation::set_multiprocessors(132);  // as many as an H100 has
  const auto pool = cuda::Context::get().pool();
  cuda::Context::get().set_pool(std::make_shared<cuda::Pool>());  // none of its memory may be touched
  emulation::set_idle(true);
  std::vector<cuda::Node> nodes;
  {
    const int64_t count = batch[0];
    Training training(settings, Tensor(batch, DType::f32), Tensor({count}, DType::s32), kCuda);
    const Tensor placements = Tensor::zeros({count, 4}, DType::s32, kCuda);
    const ResidentImages data{Tensor::zeros(batch, DType::u8, kCuda), Tensor::zeros({count}, DType::s32, kCuda),
                              Tensor::zeros({batch[3], 256}, DType::f32, kCuda), 4};
    training.optimizer->set_rate_factor(1);
    const auto work = cuda_device().repeat();
    const auto run = [&] {
      work->run([&] {
        call("gather_batch", &BatchKernels::gather_batch, data, placements, training.images, training.labels);
        training.step();
      });
    };
    run();  // the first run takes memory and clears it; on a device it computes, too
    nodes = cuda::Context::get().nodes_of(run);
    if (work->nodes() > 0) std::printf("the device repeats %zu nodes\n", work->nodes());  // none while it is idle
  }
  emulation::set_idle(false);
  emulation::set_multiprocessors(4);
  cuda::Context::get().set_pool(pool);
  return nodes;
}

// Prints the table by name; returns the sums.
Traffic print_table(const std::vector<cuda::Node>& nodes, int64_t images) {
  std::map<std::string, Traffic> table;
  Traffic total;
  for (const cuda::Node& node : nodes)
    for (Traffic* row : {&table[std::string(node.name)], &total}) {
      ++row->nodes;
      row->reads += static_cast<double>(node.reads);
      row->writes += static_cast<double>(node.writes);
    }
  const double megabyte = 1e6, per_image = 1e3 * static_cast<double>(images);
  std::printf("%-34s %5s %10s %10s %14s\n", "node", "count", "reads MB", "writes MB", "kB per image");
  for (const auto& [name, row] : table)
    std::printf("%-34s %5zu %10.3f %10.3f %14.2f\n", name.c_str(), row.nodes, row.reads / megabyte,
                row.writes / megabyte, (row.reads + row.writes) / per_image);
  std::printf("%zu nodes, %.2f MB per image\n", total.nodes,
              (total.reads + total.writes) / megabyte / static_cast<double>(images));
  return total;
}

double megabytes_per_image(const Traffic& total, int64_t images) {
  return (total.reads + total.writes) / 1e6 / static_cast<double>(images);
}

}  // namespace

TEST_CASE("cuda: launches and bytes of a training step of ResNet-20, 4 bit, batch 128") {
  const ModelSettings settings = settings_of(LevelMethod::apot, QuantizerVariant::cifar, 4);
  const auto jobs_of = [](const std::vector<cuda::Node>& nodes, std::string_view name) {
    size_t jobs = 0;
    for (const cuda::Node& node : nodes) jobs += node.name == name ? node.jobs : 0;
    return jobs;
  };
  const auto nodes = nodes_of_step(settings, {128, 32, 32, 3});
  const Traffic total = print_table(nodes, 128);
  // The goals are 70 launches and 2.6 MB: single launches, as of a device with fewer multiprocessors than images, miss
  // the second.
  const bool chains =
      cuda::Context::get().description().starts_with("emulated device") || cuda::images_of_forward_chain() >= 128;
  CHECK(jobs_of(nodes, "forward chain") + jobs_of(nodes, "gradient chain") == (chains ? 40 : 0));
  CHECK(total.nodes <= (chains ? 21 : 65));
  CHECK(megabytes_per_image(total, 128) <= (chains ? 2.6 : 5.5));
  CHECK(jobs_of(nodes, "norm input gradient") == 0);
  std::printf("without chains:\n");
  cuda::Context::get().set_blocks_together(false);
  const Traffic single = print_table(nodes_of_step(settings, {128, 32, 32, 3}), 128);
  cuda::Context::get().set_blocks_together(true);
  CHECK(single.nodes <= 65);
  CHECK(megabytes_per_image(single, 128) <= 5.5);
  std::printf("not fused:\n");
  cuda::Context::get().set_fuses_steps(false);
  print_table(nodes_of_step(settings, {128, 32, 32, 3}), 128);
  cuda::Context::get().set_fuses_steps(true);
}

TEST_CASE("cuda: launches and bytes of a training step of ResNet-18, 4 bit, batch 64") {
  ModelSettings settings = settings_of(LevelMethod::apot, QuantizerVariant::imagenet, 4);
  settings.name = "resnet18";
  settings.classes = 1000;
  const auto nodes = nodes_of_step(settings, {64, 224, 224, 3});
  const Traffic total = print_table(nodes, 64);
  CHECK(total.nodes <= 100);
  CHECK(megabytes_per_image(total, 64) <= 107);
  // All launches that belong to the quantized convolutions and to what stands between them.
  const auto count = [&](std::initializer_list<std::string_view> names) {
    return std::ranges::count_if(
        nodes, [&](const cuda::Node& node) { return std::ranges::find(names, node.name) != names.end(); });
  };
  constexpr ptrdiff_t kConvolutions = 19;
  CHECK(count({"quantize weights", "evaluate", "quantize and convolve", "convolve codes"}) <= 2 * kConvolutions);
  CHECK(count({"norm input gradient", "input gradient", "value gradient", "convolution weight gradients",
               "weight gradients", "weight norm gradients"}) <= 3 * kConvolutions);
}
