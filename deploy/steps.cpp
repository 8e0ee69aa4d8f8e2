#include <algorithm>

#include "core/base/error.h"
#include "core/tensor/buffer.h"
#include "deploy/image_network.h"

namespace apotnet {
namespace {

constexpr int64_t kSumsBytes = 8192;  // of a call: sums stay in the first-level cache until they are codes

// A thread's memory for the sums and a kernel's scratch; grows, never shrinks.
struct Scratch {
  int32_t* sums;
  std::byte* kernel;
};

Scratch scratch_of(const CodesConv& conv, int64_t rows) {
  thread_local std::shared_ptr<Buffer> memory;
  const int64_t sums = rows * conv.shape().output_w() * conv.shape().padded_outputs() * 4;
  const auto wanted = static_cast<size_t>((sums + 63) / 64 * 64 + conv.scratch_bytes());
  if (!memory || memory->bytes() < wanted) memory = Buffer::allocate(wanted, {});
  return {reinterpret_cast<int32_t*>(memory->data()), memory->data() + (sums + 63) / 64 * 64};
}

int64_t rows_for(const CodesConv& conv) {
  const int64_t row = conv.shape().output_w() * conv.shape().padded_outputs() * 4;
  const int64_t steps = std::max<int64_t>(1, kSumsBytes / (row * conv.row_step()));
  return steps * conv.row_step();
}

std::string describe_convolution(const std::string& layer, const ConvolutionOfCodes& convolution, bool names_kernel) {
  const CodesConvShape& s = convolution.cpu->shape();
  return text(layer, ": ", s.kernel_h, "x", s.kernel_w, " ", s.channels, " -> ", s.outputs,
              names_kernel ? text(" by ", convolution.cpu->name()) : "", ", ");
}

class CodesStep : public NetworkStep {
 public:
  explicit CodesStep(CodesStepSettings settings) : s_(std::move(settings)), conv_(*s_.convolution.cpu) {}
  int64_t rows() const override { return conv_.shape().output_h(); }
  int64_t rows_per_call() const override { return rows_for(conv_); }

  void run(NetworkMemory& memory, int64_t first_row, int64_t rows) const override {
    const Scratch scratch = scratch_of(conv_, rows);
    const Thresholds& t = s_.thresholds;
    const int64_t width = conv_.shape().output_w();
    conv_.sums(reinterpret_cast<const uint8_t*>(memory.frames[s_.input]->data()), first_row, rows, scratch.sums,
               scratch.kernel);
    CodesEpilogue epilogue{.sums = scratch.sums,
                           .pixels = width,
                           .channels = t.channels,
                           .padded_channels = t.padded_channels,
                           .thresholds = t.values.data(),
                           .rising = t.rising.data(),
                           .levels = t.levels.data(),
                           .level_count = static_cast<int64_t>(t.levels.size()),
                           .factor = t.factor.empty() ? nullptr : t.factor.data(),
                           .offset = t.offset.data(),
                           .table = s_.target.table.get(),
                           .codes = nullptr,
                           .pixel_stride = s_.target.layout.channels};
    auto* frame = reinterpret_cast<uint8_t*>(memory.frames[s_.target.frame]->data());
    for (int64_t y = first_row; y < first_row + rows; ++y, epilogue.sums += width * t.padded_channels) {
      epilogue.codes = frame + s_.target.layout.offset(y, 0);
      epilogues().codes(epilogue);
    }
  }

 private:
  const CodesStepSettings s_;
  const CodesConv& conv_;
};

class ValuesStep : public NetworkStep {
 public:
  explicit ValuesStep(ValuesStepSettings settings)
      : s_(std::move(settings)), conv_(s_.convolution ? s_.convolution->cpu.get() : nullptr) {}
  int64_t rows() const override { return s_.shape[1]; }
  int64_t rows_per_call() const override { return conv_ ? rows_for(*conv_) : s_.shape[1]; }

  void run(NetworkMemory& memory, int64_t first_row, int64_t rows) const override {
    const int64_t width = s_.shape[2], channels = s_.shape[3];
    const auto plane = [&](size_t i, int64_t y) {
      return memory.planes[i].data<float>().data() + y * width * channels;
    };
    ValuesEpilogue epilogue{.sums = nullptr,
                            .y = nullptr,
                            .step = s_.step,
                            .pixels = width,
                            .channels = channels,
                            .padded_channels = conv_ ? conv_->shape().padded_outputs() : channels,
                            .scale = s_.scale.empty() ? nullptr : s_.scale.data(),
                            .shift = s_.shift.data(),
                            .shortcut = nullptr,
                            .relu = s_.relu,
                            .values = nullptr,
                            .targets = {},
                            .target_count = static_cast<int>(s_.targets.size())};
    if (conv_) {
      const Scratch scratch = scratch_of(*conv_, rows);
      conv_->sums(reinterpret_cast<const uint8_t*>(memory.frames[s_.input]->data()), first_row, rows, scratch.sums,
                  scratch.kernel);
      epilogue.sums = scratch.sums;
    }
    for (int64_t y = first_row; y < first_row + rows; ++y) {
      if (!conv_) epilogue.y = plane(s_.input, y);
      if (s_.shortcut) epilogue.shortcut = plane(*s_.shortcut, y);
      if (s_.output) epilogue.values = plane(*s_.output, y);
      for (size_t i = 0; i < s_.targets.size(); ++i) {
        const CodesTarget& target = s_.targets[i];
        auto* frame = reinterpret_cast<uint8_t*>(memory.frames[target.frame]->data());
        epilogue.targets[i] = {target.alpha, target.table.get(), frame + target.layout.offset(y, 0),
                               target.layout.channels, target.has_sign};
      }
      epilogues().values(epilogue);
      if (conv_) epilogue.sums += width * epilogue.padded_channels;
    }
  }

 private:
  const ValuesStepSettings s_;
  const CodesConv* const conv_;  // null: none
};

class KernelStep : public NetworkStep {
 public:
  explicit KernelStep(KernelStepSettings settings) : s_(std::move(settings)) {}
  void run(NetworkMemory& memory, int64_t, int64_t) const override {
    s_.call(memory.planes[s_.input], s_.constants, memory.planes[s_.output]);
  }

 private:
  KernelStepSettings s_;
};

}  // namespace

std::unique_ptr<NetworkStep> make_step(StepSettings settings) {
  if (auto* codes = std::get_if<CodesStepSettings>(&settings)) return std::make_unique<CodesStep>(std::move(*codes));
  if (auto* kernel = std::get_if<KernelStepSettings>(&settings))
    return std::make_unique<KernelStep>(std::move(*kernel));
  auto& values = std::get<ValuesStepSettings>(settings);
  require(values.targets.size() <= 2, values.layer, ": values with more than two quantizers");
  return std::make_unique<ValuesStep>(std::move(values));
}

std::string describe(const StepSettings& settings, bool names_kernel) {
  if (const auto* codes = std::get_if<CodesStepSettings>(&settings))
    return describe_convolution(codes->layer, codes->convolution, names_kernel) +
           (codes->thresholds.factor.empty() ? "thresholds one by one" : "thresholds");
  if (const auto* kernel = std::get_if<KernelStepSettings>(&settings)) return text(kernel->name, " in float");
  const auto& values = std::get<ValuesStepSettings>(settings);
  return text(
      values.convolution ? describe_convolution(values.layer, *values.convolution, names_kernel) : values.layer + ": ",
      "float values", values.shortcut ? " + shortcut" : "", values.relu ? ", ReLU" : "", ", ", values.targets.size(),
      values.targets.size() == 1 ? " quantizer" : " quantizers");
}

void for_each_slot(StepSettings& settings, const std::function<void(size_t& plane)>& plane,
                   const std::function<void(size_t& frame)>& frame) {
  if (auto* codes = std::get_if<CodesStepSettings>(&settings)) {
    frame(codes->input);
    frame(codes->target.frame);
  } else if (auto* kernel = std::get_if<KernelStepSettings>(&settings)) {
    plane(kernel->input);
    plane(kernel->output);
  } else {
    auto& values = std::get<ValuesStepSettings>(settings);
    (values.convolution ? frame : plane)(values.input);
    if (values.shortcut) plane(*values.shortcut);
    if (values.output) plane(*values.output);
    for (CodesTarget& target : values.targets) frame(target.frame);
  }
}

}  // namespace apotnet
