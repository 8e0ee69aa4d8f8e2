#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>

#include "core/kernels/kernels.h"
#include "tools/bench/codes_contestants.h"
#include "tools/bench/kernel_problem.h"

namespace apotnet {
namespace {

// Images per call of oneDNN: an input that fits the second-level cache, as in training.
int64_t images_per_call(const KernelProblem& p) {
  const int64_t largest = std::max(p.x.elements(), p.gy.elements()) / p.batch;
  return std::clamp<int64_t>((int64_t{1} << 17) / largest, 1, 16);
}

// One pass of oneDNN over the batch, a few images per call: call(convolution, packed weights, first image).
template <typename Call>
std::function<void()> in_chunks(const KernelProblem& p, ConvPass pass, const Tensor& weights, Call call) {
  struct Chunk {
    const OneDnnConvolution* convolution;
    std::shared_ptr<Buffer> weights;
    int64_t first;
  };
  std::vector<Chunk> chunks;
  for (int64_t first = 0, step = images_per_call(p); first < p.batch; first += step) {
    ConvShape shape = p.conv_shape();
    shape.images = std::min(step, p.batch - first);
    const OneDnnConvolution& convolution = OneDnnConvolution::get(pass, shape);
    if (!chunks.empty() && chunks.back().convolution == &convolution) {
      chunks.push_back({&convolution, chunks.back().weights, first});
      continue;
    }
    auto packed = Buffer::allocate(convolution.packed_bytes(), {});
    convolution.pack(weights.raw(), packed->data());
    chunks.push_back({&convolution, std::move(packed), first});
  }
  return [chunks = std::move(chunks), call]() mutable {
    for (const Chunk& chunk : chunks) call(*chunk.convolution, chunk.weights->data(), chunk.first);
  };
}

// forward, codes and backward_input: x (or gy) and packed weights to y (or gx).
PreparedKernel onednn_to_images(const KernelProblem& p, KernelTask task, ConvPass pass, const Tensor& from,
                                const Tensor& weights) {
  Tensor result(p.result_shape(task), task == KernelTask::codes ? DType::s32 : DType::f32);
  const size_t from_image = from.bytes() / static_cast<size_t>(p.batch);
  const size_t to_image = result.bytes() / static_cast<size_t>(p.batch);
  const auto call = [from, result, from_image, to_image](const OneDnnConvolution& convolution, const void* packed,
                                                         int64_t first) mutable {
    const auto image = static_cast<size_t>(first);
    convolution.run(from.raw() + image * from_image, packed, result.raw() + image * to_image);
  };
  return {result, in_chunks(p, pass, weights, call)};
}

PreparedKernel onednn_forward(const KernelProblem& p) {
  return onednn_to_images(p, KernelTask::forward, ConvPass::forward, p.x, p.w);
}

PreparedKernel onednn_codes(const KernelProblem& p) {
  return onednn_to_images(p, KernelTask::codes, ConvPass::codes, p.x_codes.codes, p.w_codes.codes);
}

PreparedKernel onednn_backward_input(const KernelProblem& p) {
  return onednn_to_images(p, KernelTask::backward_input, ConvPass::backward_input, p.gy, p.w);
}

// One call over the batch: it leaves oneDNN the sum over images.
PreparedKernel onednn_backward_weight(const KernelProblem& p) {
  Tensor result(p.w.shape(), DType::f32);
  const OneDnnConvolution& convolution = OneDnnConvolution::get(ConvPass::backward_weight, p.conv_shape());
  const auto packed = Buffer::allocate(convolution.packed_bytes(), {});
  return {result, [&p, &convolution, packed, result]() mutable {
            convolution.run(p.gy.raw(), p.x.raw(), packed->data());
            convolution.unpack(packed->data(), result.raw());
          }};
}

// A line of the contract on the back end that training runs on: kernel(conv kernels, problem, result).
template <typename Kernel>
std::function<PreparedKernel(const KernelProblem&)> backend(KernelTask task, Kernel kernel) {
  return [task, kernel](const KernelProblem& p) {
    Tensor result(p.result_shape(task), DType::f32);
    return PreparedKernel{result, [&p, kernel, result]() mutable { kernel(*cpu_kernels().conv, p, result); }};
  };
}

using Conv = const ConvKernels&;
using Problem = const KernelProblem&;

}  // namespace

const std::vector<KernelContestant>& kernel_contestants() {
  using enum KernelTask;
  static const std::vector<KernelContestant> contestants = [] {
    std::vector<KernelContestant> all{
        {"onednn u8s8", codes, onednn_codes},
        {"apotnet in training", codes,
         backend(codes,
                 [](Conv k, Problem p, Tensor& y) { k.conv2d_codes(p.x_codes, p.w_codes, p.shape.geometry(), y); })},
        {"onednn f32", forward, onednn_forward},
        {"apotnet f32", forward,
         backend(forward, [](Conv k, Problem p, Tensor& y) { k.conv2d(p.x, p.w, p.shape.geometry(), y); })},
        {"onednn f32 backward input", backward_input, onednn_backward_input},
        {"apotnet f32 backward input", backward_input,
         backend(backward_input,
                 [](Conv k, Problem p, Tensor& gx) { k.conv2d_backward_input(p.gy, p.w, p.shape.geometry(), gx); })},
        {"onednn f32 backward weight", backward_weight, onednn_backward_weight},
        {"apotnet f32 backward weight", backward_weight,
         backend(backward_weight,
                 [](Conv k, Problem p, Tensor& gw) { k.conv2d_backward_weight(p.gy, p.x, p.shape.geometry(), gw); })},
    };
    std::ranges::move(codes_contestants(), std::back_inserter(all));
    return all;
  }();
  return contestants;
}

}  // namespace apotnet
