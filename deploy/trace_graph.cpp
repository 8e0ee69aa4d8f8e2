#include "deploy/trace_graph.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/quant/quantized.h"

namespace apotnet {
namespace {

using Value = TraceGraph::Value;

Value value_of(const std::any& argument) {
  if (const auto* tensor = std::any_cast<Tensor>(&argument)) return tensor->raw();
  if (const auto* quantized = std::any_cast<Quantized>(&argument)) return quantized->codes.raw();
  return nullptr;
}

// Of values, without a sign or with one.
bool is_quantizer(const std::string& name) { return name == "quantize_activation" || name == "quantize_weight"; }

// Where a kernel that may depend on the input has its output among its arguments.
const std::map<std::string, size_t>& output_arguments() {
  static const std::map<std::string, size_t> outputs{
      {"conv2d", 3},    {"conv2d_codes", 3},        {"batch_norm", 6},      {"relu", 1},   {"add", 2},
      {"norm_relu", 2}, {"norm_relu_quantize", 3},  {"norm_add_relu", 3},   {"linear", 3}, {"average_pool", 2},
      {"max_pool", 2},  {"quantize_activation", 2}, {"quantize_weight", 2}, {"relu6", 1}};
  return outputs;
}

}  // namespace

TraceGraph::TraceGraph(const std::vector<TracedCall>& calls, const Tensor& input) : calls_(calls) {
  std::set<Value> varying{input.raw()};
  for (size_t i = 0; i < calls.size(); ++i) {
    const auto found = output_arguments().find(calls[i].name);
    const size_t output = found == output_arguments().end() ? SIZE_MAX : found->second;
    std::vector<Value> reads;
    for (size_t argument = 0; argument < calls[i].arguments.size(); ++argument)
      if (const Value value = value_of(calls[i].arguments[argument]); argument != output && varying.contains(value))
        reads.push_back(value);
    if (reads.empty()) continue;
    if (output == SIZE_MAX)
      fail(ErrorCategory::unavailable, "the integer engine has no rule for the kernel ", calls[i].name);
    for (const Value value : reads) readers_[value].push_back(i);
    const Value written = value_of(calls[i].arguments[output]);
    varying.insert(written);
    outputs_[i] = written;
    writers_[written] = i;
  }
}

const std::vector<size_t>& TraceGraph::readers(Value value) const {
  static const std::vector<size_t> none;
  const auto found = readers_.find(value);
  return found == readers_.end() ? none : found->second;
}

// The only reader of a value, if it is a call of that kernel.
const size_t* TraceGraph::only_reader(Value value, const char* kernel) const {
  const auto& all = readers(value);
  return all.size() == 1 && calls_[all[0]].name == kernel ? &all[0] : nullptr;
}

void TraceGraph::take(Chain& chain, size_t call) const {
  chain.end_call = call;
  chain.end = output_of(call);
  chain.calls.push_back(call);
}

TraceGraph::Chain TraceGraph::follow(size_t call) const {
  Chain chain;
  take(chain, call);
  if (const size_t* norm = only_reader(chain.end, "batch_norm")) {
    const TracedCall& c = calls_[*norm];
    chain.norm =
        BatchNormTerms{c.get<Tensor>(1), c.get<Tensor>(2), c.get<Tensor>(3), c.get<Tensor>(4), c.get<double>(5)};
    take(chain, *norm);
  }
  if (const size_t* add = only_reader(chain.end, "add")) {
    const Value a = calls_[*add].get<Tensor>(0).raw(), b = calls_[*add].get<Tensor>(1).raw();
    // Of two convolutions that meet, the first operand's takes the sum.
    if (chain.end == a || !only_reader(a, "add") || calls_[writers_.at(a)].name != "batch_norm") {
      chain.shortcut = chain.end == a ? b : a;
      take(chain, *add);
    }
  }
  if (const size_t* relu = only_reader(chain.end, "relu")) {
    chain.relu = true;
    take(chain, *relu);
  }
  // A kernel that begins with the batch norm comes behind the convolution itself: not behind a sum or a ReLU.
  if (chain.end_call == call) follow_fused(chain);
  if (chain.end)
    std::ranges::copy_if(readers(chain.end), std::back_inserter(chain.quantizers),
                         [&](size_t reader) { return is_quantizer(calls_[reader].name); });
  chain.calls.insert(chain.calls.end(), chain.quantizers.begin(), chain.quantizers.end());
  return chain;
}

// The same where the model called a kernel that computes them together.
void TraceGraph::follow_fused(Chain& chain) const {
  const size_t* fused = nullptr;
  for (const char* name : {"norm_relu", "norm_relu_quantize", "norm_add_relu"})
    if (const size_t* reader = only_reader(chain.end, name)) fused = reader;
  // The second input of norm_add_relu is the shortcut: its convolution ends before.
  if (!fused || calls_[*fused].get<Tensor>(0).raw() != chain.end) return;
  const TracedCall& call = calls_[*fused];
  chain.norm = call.get<BatchNormTerms>(1);
  chain.relu = true;
  if (call.name == "norm_add_relu") chain.shortcut = call.get<Tensor>(2).raw();
  take(chain, *fused);
  if (call.name != "norm_relu_quantize") return;
  chain.quantizers = {*fused};
  chain.end = nullptr;
}

const Tensor& TraceGraph::alpha_of(size_t quantizer) const {
  return calls_[quantizer].get<Tensor>(is_quantizer(calls_[quantizer].name) ? 1 : 2);
}

const Quantized& TraceGraph::codes_of(size_t quantizer) const {
  return calls_[quantizer].get<Quantized>(is_quantizer(calls_[quantizer].name) ? 2 : 3);
}

}  // namespace apotnet
