// Convolutions by cuDNN, through its back-end interface: a graph of one operation, the kernels that the library
// proposes for it in order of expected speed, and the first of them that keeps our rules.
#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>

#include "core/base/error.h"
#include "core/kernels/cuda/convolution_plan.h"
#include "core/kernels/cuda/cudnn_descriptor.h"

namespace apotnet::cuda {
namespace {

// The device that plans are made for: a described one, or (without a descriptor) that of the handle.
using Target = std::optional<CudnnDescriptor>;

Target target_of(const std::string& json) {
  if (json.empty()) return std::nullopt;
  CudnnDescriptor device(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  device.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, std::span<const char>(json.data(), json.size() + 1));
  device.finalize("reading the description of a device");
  return device;
}

cudnnDataType_t data_type(DType dtype) {
  require(dtype == DType::f32 || dtype == DType::bf16, "no convolutions of ", apotnet::name_of(dtype));
  return dtype == DType::f32 ? CUDNN_DATA_FLOAT : CUDNN_DATA_BFLOAT16;
}

CudnnDescriptor tensor_descriptor(const TensorDescription& tensor) {
  CudnnDescriptor made(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  made.set(CUDNN_ATTR_TENSOR_DATA_TYPE, data_type(tensor.dtype));
  made.set(CUDNN_ATTR_TENSOR_DIMENSIONS, std::span<const int64_t>(tensor.sizes));
  made.set(CUDNN_ATTR_TENSOR_STRIDES, std::span<const int64_t>(tensor.strides));
  made.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, tensor.id);
  made.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, int64_t{16});
  made.finalize("a tensor of a convolution");
  return made;
}

CudnnDescriptor window_descriptor(const ConvolutionDescription& description) {
  CudnnDescriptor made(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  made.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_DATA_FLOAT);
  made.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_CROSS_CORRELATION);
  made.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, int64_t{2});
  made.set(CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, std::span<const int64_t>(description.padding));
  made.set(CUDNN_ATTR_CONVOLUTION_POST_PADDINGS, std::span<const int64_t>(description.padding));
  made.set(CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, std::span<const int64_t>(description.stride));
  made.set(CUDNN_ATTR_CONVOLUTION_DILATIONS, std::span<const int64_t>(std::array<int64_t, 2>{1, 1}));
  made.finalize("the window of a convolution");
  return made;
}

// The names of one operation's attributes.
struct OperationAttributes {
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t window, x, w, y, alpha, beta;
};

OperationAttributes attributes_of(ConvolutionOperation operation) {
  switch (operation) {
    case ConvolutionOperation::forward:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA};
    case ConvolutionOperation::input_gradient:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA};
    case ConvolutionOperation::weight_gradient:
      return {CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA};
  }
  fail(ErrorCategory::internal, "unknown operation ", static_cast<int>(operation));
}

CudnnDescriptor convolution_operation(const ConvolutionDescription& description, const CudnnDescriptor& x,
                                      const CudnnDescriptor& w, const CudnnDescriptor& y) {
  const OperationAttributes names = attributes_of(description.operation);
  CudnnDescriptor operation(names.type);
  operation.set(names.window, window_descriptor(description));
  operation.set(names.x, x);
  operation.set(names.w, w);
  operation.set(names.y, y);
  operation.set(names.alpha, 1.0F);
  operation.set(names.beta, 0.0F);
  operation.finalize(description.text());
  return operation;
}

CudnnDescriptor operation_graph(const ConvolutionDescription& description, const Target& target) {
  const CudnnDescriptor operation =
      convolution_operation(description, tensor_descriptor(description.x), tensor_descriptor(description.w),
                            tensor_descriptor(description.y));
  CudnnDescriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  if (!target) graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, cudnn_handle());
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, operation);
  graph.finalize(description.text());
  return graph;
}

std::vector<CudnnDescriptor> proposals(const CudnnDescriptor& graph, cudnnBackendHeurMode_t mode,
                                       const Target& target) {
  CudnnDescriptor heuristic(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
  heuristic.set(CUDNN_ATTR_ENGINEHEUR_MODE, mode);
  if (target) heuristic.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, *target);
  if (!heuristic.try_finalize()) return {};
  return heuristic.get(CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
}

CudnnDescriptor engine_of(const CudnnDescriptor& configuration) {
  auto engines = configuration.get(CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  require(engines.size() == 1, "cuDNN names ", engines.size(), " engines for one configuration");
  return std::move(engines[0]);
}

// Same bits at every run; products as the arithmetic says; sums of products and nothing else.
bool keeps_rules(const CudnnDescriptor& engine, Arithmetic arithmetic) {
  const auto notes = engine.get<cudnnBackendNumericalNote_t>(CUDNN_ATTR_ENGINE_NUMERICAL_NOTE);
  const auto noted = [&](cudnnBackendNumericalNote_t note) { return std::ranges::find(notes, note) != notes.end(); };
  if (noted(CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC) || noted(CUDNN_NUMERICAL_NOTE_FFT) ||
      noted(CUDNN_NUMERICAL_NOTE_WINOGRAD) || noted(CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION) ||
      noted(CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS))
    return false;
  return noted(CUDNN_NUMERICAL_NOTE_TENSOR_CORE) == (arithmetic != Arithmetic::f32);
}

// "cudnn-9.19.0:38:2=5,14=1": version, engine, and the knobs that were set.
std::string word_of(const CudnnDescriptor& configuration, const CudnnDescriptor& engine) {
  std::string word =
      text("cudnn-", Cudnn::get().version_text(), ":", engine.get<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX).at(0), ":");
  const auto knobs = configuration.get(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
  for (const CudnnDescriptor& knob : knobs)
    word += text(word.ends_with(':') ? "" : ",",
                 static_cast<int>(knob.get<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE).at(0)), "=",
                 knob.get<int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE).at(0));
  return word;
}

// Reads the number at the front of `rest` and what follows it, one of `ends`; false if that is not there.
bool take_number(std::string_view& rest, int64_t& number, std::string_view ends) {
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  if (error != std::errc() || std::abs(number) > 1 << 30) return false;
  rest.remove_prefix(static_cast<size_t>(end - rest.data()));
  if (rest.empty()) return ends.ends_with('$');
  if (ends.find(rest[0]) == std::string_view::npos) return false;
  rest.remove_prefix(1);
  return true;
}

// The configuration that a word names, or nothing where this cuDNN cannot make it on this device.
std::optional<CudnnDescriptor> configuration_of(std::string_view word, const CudnnDescriptor& graph,
                                                const Target& target) {
  const std::string version = text("cudnn-", Cudnn::get().version_text(), ":");
  if (!word.starts_with(version) || word.ends_with(',')) return std::nullopt;
  word.remove_prefix(version.size());
  int64_t index = 0;
  if (!take_number(word, index, ":") || index < 0) return std::nullopt;
  CudnnDescriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
  engine.set(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph);
  engine.set(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, index);
  if (target) engine.set(CUDNN_ATTR_ENGINE_DEVICEPROP, *target);
  if (!engine.try_finalize()) return std::nullopt;

  std::vector<CudnnDescriptor> knobs;
  while (!word.empty()) {
    int64_t type = 0, value = 0;
    if (!take_number(word, type, "=") || type < 0 || type >= CUDNN_KNOB_TYPE_COUNTS || !take_number(word, value, ",$"))
      return std::nullopt;
    CudnnDescriptor& knob = knobs.emplace_back(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
    knob.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, static_cast<cudnnBackendKnobType_t>(type));
    knob.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, value);
    if (!knob.try_finalize()) return std::nullopt;
  }
  CudnnDescriptor configuration(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
  configuration.set(CUDNN_ATTR_ENGINECFG_ENGINE, engine);
  if (!knobs.empty()) configuration.set(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, std::span<const CudnnDescriptor>(knobs));
  if (!configuration.try_finalize()) return std::nullopt;
  return configuration;
}

size_t rounded_up(int64_t bytes) { return (static_cast<size_t>(bytes) + 255) / 256 * 256; }

}  // namespace

struct ConvolutionPlan::Implementation {
  ConvolutionDescription description;
  bool described = false;  // made for a device that is not this one: cannot run
  std::optional<CudnnDescriptor> plan;
  size_t workspace = 0;
  std::string engine;

  // Takes the configuration if a plan comes of it that keeps the rules and the limits.
  bool take(const CudnnDescriptor& configuration, const PlanLimits& limits, const Target& target) {
    const CudnnDescriptor proposed = engine_of(configuration);
    if (!keeps_rules(proposed, description.arithmetic)) return false;
    CudnnDescriptor candidate(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    if (target)
      candidate.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, *target);
    else
      candidate.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, cudnn_handle());
    candidate.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
    if (!candidate.try_finalize()) return false;
    workspace = rounded_up(candidate.get<int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE).at(0));
    if (workspace > limits.workspace) return false;
    engine = word_of(configuration, proposed);
    plan = std::move(candidate);
    return true;
  }
};

ConvolutionPlan::ConvolutionPlan(const ConvolutionDescription& description, const PlanLimits& limits)
    : implementation_(std::make_unique<Implementation>()) {
  check_description(description);
  implementation_->description = description;
  implementation_->described = !limits.device.empty();
  const Target target = target_of(limits.device);
  const CudnnDescriptor graph = operation_graph(description, target);
  if (!limits.engine.empty()) {
    const auto configuration = configuration_of(limits.engine, graph, target);
    if (configuration && implementation_->take(*configuration, limits, target)) return;
    fail(ErrorCategory::unavailable, "cuDNN ", Cudnn::get().version_text(), " does not have engine ", limits.engine,
         " here for ", description.text());
  }
  for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK})
    for (const CudnnDescriptor& configuration : proposals(graph, mode, target))
      if (implementation_->take(configuration, limits, target)) return;
  fail(ErrorCategory::unavailable, "cuDNN ", Cudnn::get().version_text(), " has no deterministic kernel within ",
       limits.workspace, " bytes of workspace for ", description.text());
}

ConvolutionPlan::~ConvolutionPlan() = default;
ConvolutionPlan::ConvolutionPlan(ConvolutionPlan&&) noexcept = default;
ConvolutionPlan& ConvolutionPlan::operator=(ConvolutionPlan&&) noexcept = default;

const ConvolutionDescription& ConvolutionPlan::description() const { return implementation_->description; }
size_t ConvolutionPlan::workspace() const { return implementation_->workspace; }
const std::string& ConvolutionPlan::engine() const { return implementation_->engine; }

void ConvolutionPlan::run(cudaStream_t stream, const void* first, const void* second, void* output,
                          void* workspace) const {
  const auto& [operation, arithmetic, x, w, y, padding, stride, groups] = implementation_->description;
  require(!implementation_->described, "a plan for a described device cannot run");
  const bool forward = operation == ConvolutionOperation::forward;
  const std::array<int64_t, 3> ids{forward ? x.id : y.id,
                                   operation == ConvolutionOperation::weight_gradient ? x.id : w.id,
                                   implementation_->description.output().id};
  const std::array<void*, 3> pointers{const_cast<void*>(first), const_cast<void*>(second), output};
  CudnnDescriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
  pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, std::span<const int64_t>(ids));
  pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, std::span<void* const>(pointers));
  pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, workspace);
  pack.finalize("the arguments of a convolution");
  const Cudnn& cudnn = Cudnn::get();
  cudnn.check(cudnn.set_stream(cudnn_handle(), stream), "choosing a stream");
  cudnn.check(cudnn.execute(cudnn_handle(), implementation_->plan->handle(), pack.handle()),
              implementation_->description.text());
}

}  // namespace apotnet::cuda
