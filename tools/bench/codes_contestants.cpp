#include "tools/bench/codes_contestants.h"

#include <algorithm>
#include <cstring>

#include "core/kernels/cpu/codes/codes_conv.h"

namespace apotnet {
namespace {

CodesConvShape shape_of(const KernelProblem& p) {
  const KernelShape& s = p.shape;
  return {s.size, s.size, s.channels, s.kernel, s.kernel, s.outputs, s.stride, s.geometry().padding};
}

std::shared_ptr<CodesConv> make(const CodesConvKernel& kernel, const KernelProblem& p) {
  return kernel.make(shape_of(p), {p.w_codes.codes.data<int8_t>(), p.x_codes.levels->codes()});
}

// All images in their frames, as the layer before leaves them.
std::shared_ptr<Buffer> framed_images(const KernelProblem& p) {
  const CodeFrame layout(shape_of(p));
  auto frames = Buffer::allocate(static_cast<size_t>(layout.bytes() * p.batch), {});
  std::memset(frames->data(), 0, frames->bytes());
  const int64_t image = p.shape.size * p.shape.size * p.shape.channels;
  for (int64_t n = 0; n < p.batch; ++n)
    layout.fill(p.x_codes.codes.data<uint8_t>().data() + n * image, p.shape.channels,
                reinterpret_cast<uint8_t*>(frames->data()) + n * layout.bytes());
  return frames;
}

PreparedKernel prepare(const CodesConvKernel& kernel, const KernelProblem& p) {
  const std::shared_ptr<CodesConv> conv = make(kernel, p);
  Tensor result(p.result_shape(KernelTask::codes), DType::s32);  // every shape has whole blocks of 16 outputs
  const auto scratch = Buffer::allocate(static_cast<size_t>(conv->scratch_bytes()), {});
  return {result, [conv, frames = framed_images(p), scratch, result, batch = p.batch]() mutable {
            const CodesConvShape& s = conv->shape();
            const int64_t frame = CodeFrame(s).bytes(), row = s.output_w() * s.padded_outputs();
            for (int64_t n = 0; n < batch; ++n)
              for (int64_t y = 0; y < s.output_h(); y += conv->row_step())
                conv->sums(reinterpret_cast<const uint8_t*>(frames->data()) + n * frame, y,
                           std::min(conv->row_step(), s.output_h() - y),
                           result.data<int32_t>().data() + (n * s.output_h() + y) * row, scratch->data());
          }};
}

}  // namespace

std::vector<KernelContestant> codes_contestants() {
  std::vector<KernelContestant> contestants;
  for (const CodesConvKernel& kernel : codes_conv_kernels())
    if (kernel.isa <= selected_isa() && kernel.name != "plain")  // that one is the judge
      contestants.push_back({"apotnet " + kernel.name, KernelTask::codes,
                             [&kernel](const KernelProblem& p) { return prepare(kernel, p); },
                             [&kernel](const KernelProblem& p) { return make(kernel, p) != nullptr; }});
  return contestants;
}

}  // namespace apotnet
