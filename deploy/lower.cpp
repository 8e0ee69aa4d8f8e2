#include "deploy/lower.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "core/base/error.h"
#include "core/kernels/call.h"
#include "deploy/share_memory.h"

namespace apotnet {
namespace {

using Value = const std::byte*;  // identity of a tensor: the trace keeps all of them alive

// Which tensors of a call depend on what it reads, and which it writes.
struct Operands {
  std::vector<Value> reads, writes;
};

Value value_of(const std::any& argument) {
  if (const auto* tensor = std::any_cast<Tensor>(&argument)) return tensor->raw();
  if (const auto* quantized = std::any_cast<Quantized>(&argument)) return quantized->codes.raw();
  return nullptr;
}

// Of kernels whose first tensors are inputs and whose last one, at `output`, is the output.
Operands operands_of(const TracedCall& call) {
  static const std::map<std::string, size_t> outputs{{"conv2d", 3}, {"conv2d_codes", 3}, {"batch_norm", 6},
                                                     {"relu", 1},   {"add", 2},          {"quantize_activation", 2},
                                                     {"linear", 3}, {"average_pool", 2}, {"max_pool", 2}};
  const auto found = outputs.find(call.name);
  Operands operands;
  for (size_t i = 0; i < call.arguments.size(); ++i)
    if (const Value value = value_of(call.arguments[i]))
      (found != outputs.end() && i == found->second ? operands.writes : operands.reads).push_back(value);
  return operands;
}

// What follows a convolution and is computed with it.
struct Chain {
  const TracedCall* norm = nullptr;
  std::optional<Value> shortcut{};
  bool relu = false;
  Value end = nullptr;
  size_t end_call = 0;
};

class Lowering {
 public:
  Lowering(const std::vector<TracedCall>& trace, const Tensor& input, const Tensor& logits)
      : calls_(trace), input_(input), logits_(logits) {
    varying_.insert(input.raw());
    for (size_t i = 0; i < calls_.size(); ++i) {
      const Operands operands = operands_of(calls_[i]);
      const auto depends = [&](Value value) { return varying_.contains(value); };
      if (std::ranges::none_of(operands.reads, depends)) continue;
      if (operands.writes.empty())
        fail(ErrorCategory::unavailable, "the integer engine has no rule for the kernel ", calls_[i].name,
             "; use --engine float");
      for (const Value value : operands.reads)
        if (depends(value)) readers_[value].push_back(i);
      for (const Value value : operands.writes) {
        varying_.insert(value);
        writer_[value] = i;
      }
    }
  }

  std::unique_ptr<IntegerNetwork> run() {
    plan_.input = input_.shape();
    plane_of(input_.raw(), input_.shape());
    // A step stands where its last kernel stood, so that a shortcut is there when it is added.
    std::map<std::pair<size_t, int>, StepSettings> steps;
    for (size_t i = 0; i < calls_.size(); ++i) {
      if (!writer_.contains(output_of(i))) continue;
      const std::string& name = calls_[i].name;
      if (name == "conv2d_codes") {
        const Chain chain = follow(i);
        steps.emplace(std::pair(chain.end_call, 0), codes_conv(calls_[i], chain));
      } else if (name == "conv2d" || name == "average_pool" || name == "max_pool" || name == "linear") {
        const Chain chain = follow(i);
        steps.emplace(std::pair(i, 0), kernel_step(i));
        const bool quantized = std::ranges::any_of(readers_[chain.end], [&](size_t r) { return is_quantizer(r); });
        if (chain.end_call != i || quantized) steps.emplace(std::pair(chain.end_call, 1), values_of_plane(i, chain));
      }
    }
    if (convolutions_ == 0)
      fail(ErrorCategory::unavailable,
           "the network has no quantized convolution: nothing for the integer engine; use "
           "--engine float");
    std::vector<StepSettings> ordered;
    for (auto& [position, step] : steps) ordered.push_back(std::move(step));
    plan_.output = plane_of(logits_.raw(), logits_.shape());
    share_memory(ordered, plan_);
    for (StepSettings& step : ordered) plan_.steps.push_back(make_step(std::move(step)));
    return std::make_unique<IntegerNetwork>(std::move(plan_));
  }

 private:
  Value output_of(size_t call) const {
    const Operands operands = operands_of(calls_[call]);
    return operands.writes.empty() ? nullptr : operands.writes[0];
  }
  bool is_quantizer(size_t call) const { return calls_[call].name == "quantize_activation"; }

  // The only reader of a value, if it is a call of that kernel.
  const size_t* only_reader(Value value, const char* kernel) {
    const auto& readers = readers_[value];
    return readers.size() == 1 && calls_[readers[0]].name == kernel ? &readers[0] : nullptr;
  }

  Chain follow(size_t call) {
    Chain chain{.end = output_of(call), .end_call = call};
    const auto take = [&](const size_t* reader) {
      chain.end_call = *reader;
      chain.end = output_of(*reader);
    };
    if (const size_t* norm = only_reader(chain.end, "batch_norm")) {
      chain.norm = &calls_[*norm];
      take(norm);
    }
    if (const size_t* add = only_reader(chain.end, "add")) {
      const Value a = calls_[*add].get<Tensor>(0).raw(), b = calls_[*add].get<Tensor>(1).raw();
      // Of two convolutions that meet, the first operand's takes the sum.
      if (chain.end == a || !only_reader(a, "add") || calls_[writer_[a]].name != "batch_norm") {
        chain.shortcut = chain.end == a ? b : a;
        take(add);
      }
    }
    if (const size_t* relu = only_reader(chain.end, "relu")) {
      chain.relu = true;
      take(relu);
    }
    return chain;
  }

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

  static CodesConvShape shape_of(const TracedCall& conv) {
    const Shape &x = conv.get<Quantized>(0).shape(), &w = conv.get<Quantized>(1).shape();
    const auto& geometry = conv.get<Conv2dGeometry>(2);
    if (geometry.groups != 1)
      fail(ErrorCategory::unavailable, "the integer engine has no grouped convolutions; use --engine float");
    return {x[1], x[2], x[3], w[1], w[2], w[0], geometry.stride, geometry.padding};
  }

  // The quantizers that read a value, each with the convolution behind it.
  std::vector<CodesTarget> targets_of(Value value) {
    std::vector<CodesTarget> targets;
    for (const size_t reader : readers_[value]) {
      if (!is_quantizer(reader)) continue;
      const auto& out = calls_[reader].get<Quantized>(2);
      const auto& behind = readers_[out.codes.raw()];
      require(behind.size() == 1 && calls_[behind[0]].name == "conv2d_codes", "codes that no convolution reads");
      require_narrow(out);
      const CodeFrame layout(shape_of(calls_[behind[0]]));
      targets.push_back({calls_[reader].get<Tensor>(1).data<float>()[0], table_of(*out.levels),
                         frame_of(out.codes.raw(), layout), layout});
    }
    return targets;
  }

  static void require_narrow(const Quantized& codes) {
    if (!codes.exact())
      fail(ErrorCategory::unavailable,
           "the integer engine sums codes of 8 bits; this network's level sets are wider: use --engine float");
  }

  std::shared_ptr<const CodeTable> table_of(const LevelSet& levels) {
    auto& table = tables_[&levels];
    if (!table) table = std::make_shared<CodeTable>(make_code_table(levels));
    return table;
  }

  // Scale and shift of a batch norm, asked of the kernel itself: with mean and beta 0 it multiplies by scale alone.
  static void scale_and_shift(const TracedCall& norm, std::vector<float>& scale, std::vector<float>& shift) {
    const int64_t channels = norm.get<Tensor>(1).elements();
    const Tensor zero = Tensor::zeros({channels}, DType::f32), one = Tensor::full({1, 1, 1, channels}, DType::f32, 1);
    Tensor y(one.shape(), DType::f32);
    const auto ask = [&](const Tensor& x, const Tensor& mean, const Tensor& beta) {
      call("batch_norm", &NormKernels::batch_norm, x, mean, norm.get<Tensor>(2), norm.get<Tensor>(3), beta,
           norm.get<double>(5), y);
      return std::vector<float>(y.data<float>().begin(), y.data<float>().end());
    };
    scale = ask(one, zero, zero);
    shift = ask(Tensor::zeros(one.shape(), DType::f32), norm.get<Tensor>(1), norm.get<Tensor>(4));
  }

  StepSettings codes_conv(const TracedCall& call, const Chain& chain) {
    const auto &x = call.get<Quantized>(0), &w = call.get<Quantized>(1);
    require_narrow(x);
    require_narrow(w);
    const CodesConvShape shape = shape_of(call);
    const std::string layer = text("convolution ", ++convolutions_);
    std::shared_ptr<const CodesConv> conv = make_codes_conv(shape, {w.codes.data<int8_t>(), x.levels->codes()});
    ValuesStepSettings settings{.layer = layer,
                                .conv = conv,
                                .input = frame_of(x.codes.raw(), CodeFrame(shape)),
                                .shape = {1, shape.output_h(), shape.output_w(), shape.outputs},
                                .step = x.step.data<float>()[0] * w.step.data<float>()[0]};
    finish(settings, chain);
    const bool only_codes = !settings.shortcut && !settings.output && settings.targets.size() == 1;
    if (!only_codes) return settings;
    return CodesStepSettings{.layer = layer,
                             .conv = conv,
                             .input = settings.input,
                             .thresholds = thresholds_of(call, chain, settings),
                             .target = settings.targets[0]};
  }

  // Everything behind the convolution or the plane.
  void finish(ValuesStepSettings& settings, const Chain& chain) {
    if (chain.norm) scale_and_shift(*chain.norm, settings.scale, settings.shift);
    if (chain.shortcut) settings.shortcut = plane_of(*chain.shortcut, settings.shape);
    settings.relu = chain.relu;
    settings.targets = targets_of(chain.end);
    const auto& readers = readers_[chain.end];
    if (chain.end == logits_.raw() || !std::ranges::all_of(readers, [&](size_t r) { return is_quantizer(r); }))
      settings.output = plane_of(chain.end, settings.shape);
  }

  Thresholds thresholds_of(const TracedCall& conv, const Chain& chain, const ValuesStepSettings& settings) {
    const auto &x = conv.get<Quantized>(0), &w = conv.get<Quantized>(1);
    const int64_t outputs = w.shape()[0], window = w.codes.elements() / outputs;
    std::vector<SumRange> ranges;
    for (int64_t o = 0; o < outputs; ++o) {
      SumRange range;
      for (const int8_t code :
           w.codes.data<int8_t>().subspan(static_cast<size_t>(o * window), static_cast<size_t>(window)))
        (code > 0 ? range.highest : range.lowest) += code * static_cast<int32_t>(x.levels->k());
      ranges.push_back(range);
    }
    const TracedCall& quantizer =
        calls_[*std::ranges::find_if(readers_[chain.end], [&](size_t r) { return is_quantizer(r); })];
    const auto& out = quantizer.get<Quantized>(2);
    std::vector<Line> lines;
    for (size_t c = 0; c < ranges.size(); ++c) {
      const double factor = static_cast<double>(2 * out.levels->k()) / settings.targets[0].alpha;
      const double scale = settings.scale.empty() ? 1 : settings.scale[c],
                   shift = settings.scale.empty() ? 0 : settings.shift[c];
      lines.push_back({settings.step * scale * factor, shift * factor});
    }
    const auto evaluate = [&](const Tensor& y) {
      Tensor value = y;
      if (chain.norm) {
        Tensor normed(y.shape(), DType::f32);
        call("batch_norm", &NormKernels::batch_norm, y, chain.norm->get<Tensor>(1), chain.norm->get<Tensor>(2),
             chain.norm->get<Tensor>(3), chain.norm->get<Tensor>(4), chain.norm->get<double>(5), normed);
        value = normed;
      }
      if (chain.relu) {
        Tensor rectified(y.shape(), DType::f32);
        call("relu", &ElementwiseKernels::relu, value, rectified);
        value = rectified;
      }
      Quantized codes = Quantized::like(value, *out.levels, /*has_sign=*/false);
      call("quantize_activation", &QuantizeKernels::quantize_activation, value, quantizer.get<Tensor>(1), codes);
      return codes.codes;
    };
    return find_thresholds(ranges, settings.step, *out.levels, evaluate, lines,
                           settings.conv->shape().padded_outputs());
  }

  StepSettings values_of_plane(size_t call, const Chain& chain) {
    const Shape& shape = output_tensor(call).shape();
    require(shape.rank() == 4, "a plane to normalise of shape ", shape);
    ValuesStepSettings settings{
        .layer = calls_[call].name, .conv = nullptr, .input = plane_of(output_of(call), shape), .shape = shape};
    finish(settings, chain);
    return settings;
  }

  const Tensor& output_tensor(size_t call) const {
    for (size_t i = calls_[call].arguments.size(); i-- > 0;)
      if (const auto* tensor = std::any_cast<Tensor>(&calls_[call].arguments[i]);
          tensor && tensor->raw() == output_of(call))
        return *tensor;
    fail(ErrorCategory::internal, "a traced call of ", calls_[call].name, " without an output");
  }

  StepSettings kernel_step(size_t index) {
    const TracedCall& call = calls_[index];
    const Tensor &x = call.get<Tensor>(0), &y = output_tensor(index);
    return KernelStepSettings{call.name, plane_of(x.raw(), x.shape()), plane_of(y.raw(), y.shape()), replay(call)};
  }

  static std::function<void(const Tensor&, Tensor&)> replay(const TracedCall& traced) {
    if (traced.name == "conv2d")
      return [w = traced.get<Tensor>(1), geometry = traced.get<Conv2dGeometry>(2)](const Tensor& x, Tensor& y) {
        call("conv2d", &ConvKernels::conv2d, x, w, geometry, y);
      };
    if (traced.name == "average_pool")
      return [geometry = traced.get<PoolGeometry>(1)](const Tensor& x, Tensor& y) {
        call("average_pool", &PoolKernels::average_pool, x, geometry, y);
      };
    if (traced.name == "max_pool")
      return [geometry = traced.get<PoolGeometry>(1)](const Tensor& x, Tensor& y) {
        Tensor position(y.shape(), DType::s32);
        call("max_pool", &PoolKernels::max_pool, x, geometry, y, position);
      };
    return [w = traced.get<Tensor>(1), b = traced.get<Tensor>(2)](const Tensor& x, Tensor& y) {
      call("linear", &LinearKernels::linear, x.reshaped({1, w.size(1)}), w, b, y);
    };
  }

  const std::vector<TracedCall>& calls_;
  const Tensor input_, logits_;
  std::set<Value> varying_;
  std::map<Value, std::vector<size_t>> readers_;
  std::map<Value, size_t> writer_;
  std::map<Value, size_t> planes_, frames_;
  std::map<const LevelSet*, std::shared_ptr<const CodeTable>> tables_;
  IntegerNetwork::Plan plan_;
  int convolutions_ = 0;
};

}  // namespace

std::unique_ptr<IntegerNetwork> lower(const std::vector<TracedCall>& trace, const Tensor& input, const Tensor& logits) {
  return Lowering(trace, input, logits).run();
}

}  // namespace apotnet
