#include "deploy/batch_network.h"

#include <cstring>
#include <map>

#include "core/base/error.h"
#include "core/kernels/call.h"

namespace apotnet {
namespace {

// An evaluation has two batch sizes: all batches but the last, and that one.
constexpr size_t kSizesKept = 2;

// Channels of codes in memory: rows of whole 16 bytes.
int64_t padded(int64_t channels) { return (channels + 15) / 16 * 16; }

Shape with_batch(const Shape& one, int64_t size) {
  std::vector<int64_t> sizes(one.sizes().begin(), one.sizes().end());
  sizes[0] = size;
  return Shape(std::span<const int64_t>(sizes));
}

// Weights that match padded channels, with zeros; in groups they are left alone.
Tensor padded_weights(const ConvolutionOfCodes& convolution) {
  const Tensor& w = convolution.weights;
  const int64_t channels = w.size(3), windows = w.elements() / channels;
  if (convolution.geometry.groups > 1) return w;
  Tensor result = Tensor::zeros({w.size(0), w.size(1), w.size(2), padded(channels)}, DType::s8);
  for (int64_t i = 0; i < windows; ++i)
    std::memcpy(result.raw() + i * padded(channels), w.raw() + i * channels, static_cast<size_t>(channels));
  return result;
}

// Turns settings into steps whose constants lie on a device.
class StepMaker {
 public:
  explicit StepMaker(Device device) : device_(device) {}

  BatchStep operator()(const CodesStepSettings& s) {
    const Thresholds& t = s.thresholds;
    const auto count = static_cast<int64_t>(t.levels.size()) - 1;
    ChannelThresholds thresholds{.values = moved({t.channels, count}, t.values),
                                 .rising = moved({t.channels}, t.rising),
                                 .levels = moved({count + 1}, t.levels)};
    if (!t.factor.empty()) {
      thresholds.factor = moved({t.padded_channels}, t.factor);
      thresholds.offset = moved({t.padded_channels}, t.offset);
      thresholds.table = table_of(s.target);
      thresholds.top = s.target.table->top;
    }
    return [convolution = moved(s.convolution), thresholds, from = s.input, to = s.target.frame](BatchMemory& memory) {
      CodesConvolution own = convolution;
      own.x = memory.codes[from];
      call("convolve_to_codes", &CodesKernels::convolve_to_codes, own, thresholds, memory.codes[to]);
    };
  }

  BatchStep operator()(const ValuesStepSettings& s) {
    const auto channels = static_cast<int64_t>(s.scale.size());
    ValueTerms terms{.step = s.step, .relu = s.relu};
    if (channels > 0) {
      terms.scale = moved({channels}, s.scale);
      terms.shift = moved({channels}, s.shift);
    }
    ValuesOutput out;
    std::vector<size_t> frames;
    for (const CodesTarget& target : s.targets) {
      out.codes.push_back(
          {target.alpha, target.table->top / 2, target.table->ties_to_lower, table_of(target), Tensor()});
      frames.push_back(target.frame);
    }
    CodesConvolution convolution;
    if (s.convolution) convolution = moved(*s.convolution);
    return
        [convolution, terms, out, frames, from = s.input, shortcut = s.shortcut, to = s.output](BatchMemory& memory) {
          ValueTerms own_terms = terms;
          if (shortcut) own_terms.shortcut = memory.planes[*shortcut];
          ValuesOutput own_out = out;
          if (to) own_out.values = memory.planes[*to];
          for (size_t i = 0; i < frames.size(); ++i) own_out.codes[i].codes = memory.codes[frames[i]];
          if (!convolution.w.defined())
            return call("plane_to_values", &CodesKernels::plane_to_values, memory.planes[from], own_terms, own_out);
          CodesConvolution own = convolution;
          own.x = memory.codes[from];
          call("convolve_to_values", &CodesKernels::convolve_to_values, own, own_terms, own_out);
        };
  }

  BatchStep operator()(const KernelStepSettings& s) {
    std::vector<Tensor> constants;
    for (const Tensor& constant : s.constants) constants.push_back(constant.on(device_));
    return [constants, call = s.call, from = s.input, to = s.output](BatchMemory& memory) {
      call(memory.planes[from], constants, memory.planes[to]);
    };
  }

 private:
  template <typename T>
  Tensor moved(const Shape& shape, const std::vector<T>& values) const {
    return Tensor::from<T>(shape, values).on(device_);
  }
  CodesConvolution moved(const ConvolutionOfCodes& convolution) const {
    return {Tensor(), padded_weights(convolution).on(device_), convolution.geometry};
  }
  Tensor table_of(const CodesTarget& target) {
    Tensor& table = tables_[target.table.get()];
    if (!table.defined()) {
      constexpr auto kEntries = static_cast<int64_t>(sizeof target.table->code);
      const uint8_t* codes = target.table->code;
      table = moved({kEntries}, std::vector<uint8_t>(codes, codes + kEntries));
    }
    return table;
  }

  const Device device_;
  std::map<const CodeTable*, Tensor> tables_;
};

}  // namespace

std::vector<BatchStep> make_batch_steps(const std::vector<StepSettings>& steps, Device device) {
  StepMaker make(device);
  std::vector<BatchStep> made;
  for (const StepSettings& step : steps) made.push_back(std::visit(make, step));
  return made;
}

BatchMemory::BatchMemory(const NetworkPlan& plan, int64_t size, Device device) {
  for (const Shape& shape : plan.planes) planes.emplace_back(with_batch(shape, size), DType::f32, device);
  for (const CodeFrame& frame : plan.frames)
    codes.push_back(Tensor::zeros({size, frame.height, frame.width, padded(frame.channels)},
                                  frame.zero > 0 ? DType::s8 : DType::u8, device));
}

BatchNetwork::BatchNetwork(NetworkPlan plan, const std::vector<StepSettings>& steps, Device device)
    : IntegerNetwork(std::move(plan)), device_(device) {
  if (device != Device{}) cuda_device();
  steps_ = make_batch_steps(steps, device);
  for (const StepSettings& step : steps) lines_.push_back(describe(step, /*names_kernel=*/false));
}

BatchNetwork::Batch& BatchNetwork::batch_of(int64_t size) const {
  for (auto batch = batches_.begin(); batch != batches_.end(); ++batch)
    if (batch->size == size) {
      batches_.splice(batches_.begin(), batches_, batch);
      return *batch;
    }
  if (batches_.size() == kSizesKept) batches_.pop_back();
  batches_.push_front({size, BatchMemory(plan_, size, device_), nullptr});
  if (device_ != Device{}) batches_.front().work = cuda_device().repeat();
  return batches_.front();
}

Tensor BatchNetwork::run(const Tensor& images) const {
  require_fitting(images);
  std::lock_guard lock(mutex_);
  Batch& batch = batch_of(images.size(0));
  Tensor& input = batch.memory.planes[0];
  if (images.on_cpu())
    input.copy_from({images.raw(), images.bytes()});
  else
    device_memory().copy(images.raw(), input.raw(), images.bytes());
  const auto work = [&] {
    for (const BatchStep& step : steps_) step(batch.memory);
  };
  batch.work ? batch.work->run(work) : work();
  const Tensor& logits = batch.memory.planes[plan_.output];
  return images.on_cpu() && !logits.on_cpu() ? logits.on(Device{}) : logits.clone();
}

}  // namespace apotnet
