#include "deploy/lower.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/kernels/call.h"
#include "deploy/share_memory.h"
#include "deploy/trace_graph.h"

namespace apotnet {
namespace {

using Value = TraceGraph::Value;
using Chain = TraceGraph::Chain;

CodesConvShape shape_of(const TracedCall& conv) {
  return codes_conv_shape(conv.get<Quantized>(0), conv.get<Quantized>(1), conv.get<Conv2dGeometry>(2));
}

bool has_sign(const Quantized& codes) { return codes.codes.dtype() == DType::s8; }

void require_narrow(const Quantized& codes) {
  if (!codes.exact())
    fail(ErrorCategory::unavailable, "the integer engine sums codes of 8 bits; this network's level sets are wider");
}

Tensor normed(const Tensor& x, const BatchNormTerms& norm) {
  Tensor y(x.shape(), DType::f32);
  call("batch_norm", &NormKernels::batch_norm, x, norm.mean, norm.variance, norm.gamma, norm.beta, norm.epsilon, y);
  return y;
}

// Scale and shift of a batch norm, asked of the kernel itself: with mean and beta 0 it multiplies by scale alone.
void scale_and_shift(const BatchNormTerms& norm, std::vector<float>& scale, std::vector<float>& shift) {
  const int64_t channels = norm.mean.elements();
  const Tensor zeros = Tensor::zeros({channels}, DType::f32), one = Tensor::full({1, 1, 1, channels}, DType::f32, 1);
  BatchNormTerms scale_alone = norm;
  scale_alone.mean = scale_alone.beta = zeros;
  const Tensor scales = normed(one, scale_alone), shifts = normed(Tensor::zeros(one.shape(), DType::f32), norm);
  scale.assign(scales.data<float>().begin(), scales.data<float>().end());
  shift.assign(shifts.data<float>().begin(), shifts.data<float>().end());
}

// What the sums of each output channel can be, from its weights and the largest code of the input.
std::vector<SumRange> sum_ranges(const Quantized& x, const Quantized& w) {
  const int64_t outputs = w.shape()[0], window = w.codes.elements() / outputs;
  std::vector<SumRange> ranges(static_cast<size_t>(outputs));
  for (int64_t i = 0; i < w.codes.elements(); ++i) {
    const int8_t code = w.codes.data<int8_t>()[static_cast<size_t>(i)];
    SumRange& range = ranges[static_cast<size_t>(i / window)];
    const int32_t largest = code * static_cast<int32_t>(x.levels->k());
    (code > 0 ? range.highest : range.lowest) += largest;
    if (has_sign(x)) (code > 0 ? range.lowest : range.highest) -= largest;
  }
  return ranges;
}

// The call of a float kernel, ready for other tensors.
KernelStepSettings replay(const TracedCall& traced, size_t input, size_t output) {
  using Constants = std::vector<Tensor>;
  KernelStepSettings step{traced.name, input, output, {}, {}};
  if (traced.name == "conv2d") {
    step.constants = {traced.get<Tensor>(1)};
    step.call = [geometry = traced.get<Conv2dGeometry>(2)](const Tensor& x, const Constants& w, Tensor& y) {
      call("conv2d", &ConvKernels::conv2d, x, w[0], geometry, y);
    };
  } else if (traced.name == "average_pool") {
    step.call = [geometry = traced.get<PoolGeometry>(1)](const Tensor& x, const Constants&, Tensor& y) {
      call("average_pool", &PoolKernels::average_pool, x, geometry, y);
    };
  } else if (traced.name == "max_pool") {
    step.call = [geometry = traced.get<PoolGeometry>(1)](const Tensor& x, const Constants&, Tensor& y) {
      Tensor position(y.shape(), DType::s32, y.device());
      call("max_pool", &PoolKernels::max_pool, x, geometry, y, position);
    };
  } else if (traced.name == "relu6") {
    step.call = [](const Tensor& x, const Constants&, Tensor& y) { call("relu6", &ElementwiseKernels::relu6, x, y); };
  } else {
    step.constants = {traced.get<Tensor>(1), traced.get<Tensor>(2)};
    step.call = [](const Tensor& x, const Constants& w, Tensor& y) {
      call("linear", &LinearKernels::linear, x.reshaped({x.size(0), w[0].size(1)}), w[0], w[1], y);
    };
  }
  return step;
}

bool is_float_kernel(const std::string& name) {
  return name == "conv2d" || name == "average_pool" || name == "max_pool" || name == "relu6" || name == "linear";
}

class Lowering {
 public:
  Lowering(const std::vector<TracedCall>& trace, const Tensor& input, const Tensor& logits)
      : graph_(trace, input), input_(input), logits_(logits) {}

  LoweredNetwork run() {
    plan_.input = input_.shape();
    plane_of(input_.raw(), input_.shape());
    // A step stands where its last kernel stood, so that a shortcut is there when it is added.
    std::map<std::pair<size_t, int>, StepSettings> steps;
    std::set<size_t> covered;
    for (size_t i = 0; i < graph_.size(); ++i) {
      if (!graph_.depends_on_input(i)) continue;
      if (graph_.call(i).name != "conv2d_codes" && !is_float_kernel(graph_.call(i).name)) continue;
      const Chain chain = graph_.follow(i);
      covered.insert(chain.calls.begin(), chain.calls.end());
      if (graph_.call(i).name == "conv2d_codes") {
        steps.emplace(std::pair(chain.end_call, 0), codes_conv(graph_.call(i), chain));
      } else {
        steps.emplace(std::pair(i, 0), kernel_step(i));
        if (chain.end_call != i || !chain.quantizers.empty())
          steps.emplace(std::pair(chain.end_call, 1), values_of_plane(i, chain));
      }
    }
    for (size_t i = 0; i < graph_.size(); ++i)
      if (graph_.depends_on_input(i) && !covered.contains(i))
        fail(ErrorCategory::unavailable, "the integer engine has no rule for ", graph_.call(i).name,
             " where this network has it; use --engine float");
    if (convolutions_ == 0)
      fail(ErrorCategory::unavailable, "the network has no quantized convolution: nothing for the integer engine");
    std::vector<StepSettings> ordered;
    for (auto& [position, step] : steps) ordered.push_back(std::move(step));
    plan_.output = plane_of(logits_.raw(), logits_.shape());
    share_memory(ordered, plan_);
    return {std::move(plan_), std::move(ordered)};
  }

 private:
  size_t plane_of(Value value, const Shape& shape) {
    const auto [entry, fresh] = planes_.try_emplace(value, plan_.planes.size());
    if (fresh) plan_.planes.push_back(shape);
    return entry->second;
  }

  size_t frame_of(Value codes, const CodeFrame& layout) {
    const auto [entry, fresh] = frames_.try_emplace(codes, plan_.frames.size());
    if (fresh) plan_.frames.push_back(layout);
    return entry->second;
  }

  std::shared_ptr<const CodeTable> table_of(const LevelSet& levels) {
    auto& table = tables_[&levels];
    if (!table) table = std::make_shared<CodeTable>(make_code_table(levels));
    return table;
  }

  // The quantizers of a chain, each with the convolution behind it.
  std::vector<CodesTarget> targets_of(const Chain& chain) {
    std::vector<CodesTarget> targets;
    if (chain.quantizers.size() > 2)
      fail(ErrorCategory::unavailable, "values with ", chain.quantizers.size(), " quantizers; use --engine float");
    for (const size_t quantizer : chain.quantizers) {
      const Quantized& out = graph_.codes_of(quantizer);
      const auto& behind = graph_.readers(out.codes.raw());
      if (behind.size() != 1 || graph_.call(behind[0]).name != "conv2d_codes")
        fail(ErrorCategory::unavailable, "codes that no convolution reads, or more than one; use --engine float");
      require_narrow(out);
      const CodeFrame layout(shape_of(graph_.call(behind[0])));
      targets.push_back({graph_.alpha_of(quantizer).data<float>()[0], table_of(*out.levels),
                         frame_of(out.codes.raw(), layout), layout, has_sign(out)});
    }
    return targets;
  }

  // Everything behind the convolution or the plane.
  void finish(ValuesStepSettings& settings, const Chain& chain) {
    if (chain.norm) scale_and_shift(*chain.norm, settings.scale, settings.shift);
    if (chain.shortcut) settings.shortcut = plane_of(*chain.shortcut, settings.shape);
    settings.relu = chain.relu;
    settings.targets = targets_of(chain);
    if (chain.end && (chain.end == logits_.raw() || graph_.readers(chain.end).size() > chain.quantizers.size()))
      settings.output = plane_of(chain.end, settings.shape);
  }

  StepSettings codes_conv(const TracedCall& call, const Chain& chain) {
    const auto &x = call.get<Quantized>(0), &w = call.get<Quantized>(1);
    require_narrow(x);
    require_narrow(w);
    const CodesConvShape shape = shape_of(call);
    const auto& geometry = call.get<Conv2dGeometry>(2);
    const ConvolutionOfCodes convolution{make_codes_conv(x, w, geometry), w.codes, geometry};
    ValuesStepSettings settings{.layer = text("convolution ", ++convolutions_),
                                .convolution = convolution,
                                .input = frame_of(x.codes.raw(), CodeFrame(shape)),
                                .shape = {1, shape.output_h(), shape.output_w(), shape.outputs},
                                .step = x.step.data<float>()[0] * w.step.data<float>()[0]};
    finish(settings, chain);
    const bool only_codes =
        !settings.shortcut && !settings.output && settings.targets.size() == 1 && !settings.targets[0].has_sign;
    if (!only_codes) return settings;
    return CodesStepSettings{.layer = settings.layer,
                             .convolution = convolution,
                             .input = settings.input,
                             .thresholds = thresholds_of(sum_ranges(x, w), chain, settings),
                             .target = settings.targets[0]};
  }

  Thresholds thresholds_of(const std::vector<SumRange>& ranges, const Chain& chain,
                           const ValuesStepSettings& settings) {
    const size_t quantizer = chain.quantizers[0];
    const LevelSet& levels = *graph_.codes_of(quantizer).levels;
    const double factor = static_cast<double>(2 * levels.k()) / settings.targets[0].alpha;
    std::vector<Line> lines;
    for (size_t c = 0; c < ranges.size(); ++c) {
      const double scale = settings.scale.empty() ? 1 : settings.scale[c];
      const double shift = settings.scale.empty() ? 0 : settings.shift[c];
      lines.push_back({settings.step * scale * factor, shift * factor});
    }
    const auto evaluate = [&](const Tensor& y) {
      Tensor value = chain.norm ? normed(y, *chain.norm) : y;
      if (chain.relu) {
        Tensor rectified(y.shape(), DType::f32);
        call("relu", &ElementwiseKernels::relu, value, rectified);
        value = rectified;
      }
      Quantized codes = Quantized::like(value, levels, /*has_sign=*/false);
      call("quantize_activation", &QuantizeKernels::quantize_activation, value, graph_.alpha_of(quantizer), codes);
      return codes.codes;
    };
    return find_thresholds(ranges, settings.step, levels, evaluate, lines,
                           settings.convolution->cpu->shape().padded_outputs());
  }

  StepSettings values_of_plane(size_t call, const Chain& chain) {
    const Tensor& plane = output_tensor(call);
    require(plane.shape().rank() == 4, "a plane to normalise of shape ", plane.shape());
    ValuesStepSettings settings{.layer = graph_.call(call).name,
                                .convolution = {},
                                .input = plane_of(plane.raw(), plane.shape()),
                                .shape = plane.shape()};
    finish(settings, chain);
    return settings;
  }

  StepSettings kernel_step(size_t index) {
    const TracedCall& traced = graph_.call(index);
    const Tensor &x = traced.get<Tensor>(0), &y = output_tensor(index);
    const size_t input = plane_of(x.raw(), x.shape());
    return replay(traced, input, plane_of(y.raw(), y.shape()));
  }

  const Tensor& output_tensor(size_t index) const {
    for (const std::any& argument : graph_.call(index).arguments)
      if (const auto* tensor = std::any_cast<Tensor>(&argument); tensor && tensor->raw() == graph_.output_of(index))
        return *tensor;
    fail(ErrorCategory::internal, "a traced call of ", graph_.call(index).name, " without an output");
  }

  const TraceGraph graph_;
  const Tensor input_, logits_;
  std::map<Value, size_t> planes_, frames_;
  std::map<const LevelSet*, std::shared_ptr<const CodeTable>> tables_;
  NetworkPlan plan_;
  int convolutions_ = 0;
};

}  // namespace

LoweredNetwork lower(const std::vector<TracedCall>& trace, const Tensor& input, const Tensor& logits) {
  return Lowering(trace, input, logits).run();
}

}  // namespace apotnet
