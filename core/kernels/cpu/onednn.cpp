#include "core/kernels/cpu/onednn.h"

#include <omp.h>

#include <dnnl.hpp>
#include <map>
#include <mutex>
#include <vector>

#include "core/base/error.h"
#include "core/tensor/buffer.h"

namespace apotnet {

using dnnl::memory;

struct OneDnnConvolution::State {
  ConvPass pass;
  dnnl::primitive primitive;
  memory::desc first, second, result, weight_ohwi, weight_packed, scratchpad;
};

namespace {

// oneDNN would start threads of its own; each of ours asks it for one.
const dnnl::engine& engine() {
  thread_local const bool one_thread = (omp_set_num_threads(1), true);
  static const dnnl::engine cpu(dnnl::engine::kind::cpu, 0);
  return one_thread ? cpu : cpu;
}

dnnl::stream& stream() {
  thread_local dnnl::stream mine(engine());
  return mine;
}

struct Descriptions {
  memory::desc x, w_any, w_ohwi, y;
  memory::dims strides, dilations{0, 0}, padding_low, padding_high;
};

Descriptions describe(ConvPass pass, const ConvShape& s) {
  using Type = memory::data_type;
  using Tag = memory::format_tag;
  const bool codes = pass == ConvPass::codes;
  const Type x_type = codes ? Type::u8 : Type::f32, w_type = codes ? Type::s8 : Type::f32,
             y_type = codes ? Type::s32 : Type::f32;
  const int64_t c = s.channels / s.groups, o = s.outputs / s.groups;
  const memory::dims w =
      s.groups == 1 ? memory::dims{o, c, s.kernel_h, s.kernel_w} : memory::dims{s.groups, o, c, s.kernel_h, s.kernel_w};
  // The lower and right edge may be cut by the stride; oneDNN wants the padding that is really read.
  const int64_t bottom = (s.output_h - 1) * s.stride + s.kernel_h - s.height - s.padding;
  const int64_t right = (s.output_w - 1) * s.stride + s.kernel_w - s.width - s.padding;
  return {.x = memory::desc({s.images, s.channels, s.height, s.width}, x_type, Tag::nhwc),
          .w_any = memory::desc(w, w_type, Tag::any),
          .w_ohwi = memory::desc(w, w_type, s.groups == 1 ? Tag::ohwi : Tag::gohwi),
          .y = memory::desc({s.images, s.outputs, s.output_h, s.output_w}, y_type, Tag::nhwc),
          .strides = {s.stride, s.stride},
          .padding_low = {s.padding, s.padding},
          .padding_high = {bottom, right}};
}

// Makes the primitive descriptor of a convolution class; the interface changed between oneDNN 2 and 3.
template <typename Convolution, typename Kind, typename... Hint>
typename Convolution::primitive_desc make(Kind kind, const memory::desc& a, const memory::desc& b,
                                          const memory::desc& c, const Descriptions& d, const Hint&... hint) {
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  constexpr auto kDirect = dnnl::algorithm::convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
  if constexpr (std::is_same_v<Kind, dnnl::prop_kind>)
    return {engine(), kind, kDirect, a, b, c, d.strides, d.dilations, d.padding_low, d.padding_high, attributes};
  else
    return {engine(), kDirect, a, b, c, d.strides, d.dilations, d.padding_low, d.padding_high, hint..., attributes};
#else
  if constexpr (std::is_same_v<Kind, dnnl::prop_kind>)
    return {{kind, kDirect, a, b, c, d.strides, d.dilations, d.padding_low, d.padding_high}, attributes, engine()};
  else
    return {{kDirect, a, b, c, d.strides, d.dilations, d.padding_low, d.padding_high}, attributes, engine(), hint...};
#endif
}

}  // namespace

OneDnnConvolution::OneDnnConvolution(std::unique_ptr<State> state) : state_(std::move(state)) {}
OneDnnConvolution::~OneDnnConvolution() = default;

const OneDnnConvolution& OneDnnConvolution::get(ConvPass pass, const ConvShape& shape) {
  static std::mutex mutex;
  static auto& kept = *new std::map<std::pair<ConvPass, ConvShape>, std::unique_ptr<OneDnnConvolution>>;
  std::lock_guard lock(mutex);
  auto& entry = kept[{pass, shape}];
  if (entry) return *entry;

  const Descriptions d = describe(pass, shape);
  auto state = std::make_unique<State>();
  state->pass = pass;
  state->weight_ohwi = d.w_ohwi;
  const auto keep = [&](const auto& description, const memory::desc& first, const memory::desc& second,
                        const memory::desc& result, const memory::desc& weight) {
    state->primitive = dnnl::primitive(description.get());
    state->first = first, state->second = second, state->result = result;
    state->weight_packed = weight;
    state->scratchpad = description.scratchpad_desc();
  };
  struct Backward {};
  try {
    if (pass == ConvPass::forward || pass == ConvPass::codes) {
      const auto p = make<dnnl::convolution_forward>(dnnl::prop_kind::forward_training, d.x, d.w_any, d.y, d);
      keep(p, d.x, p.weights_desc(), d.y, p.weights_desc());
    } else {
      const auto hint = make<dnnl::convolution_forward>(dnnl::prop_kind::forward_training, d.x, d.w_any, d.y, d);
      if (pass == ConvPass::backward_input) {
        const auto p = make<dnnl::convolution_backward_data>(Backward{}, d.x, d.w_any, d.y, d, hint);
        keep(p, d.y, p.weights_desc(), d.x, p.weights_desc());
      } else {
        const auto p = make<dnnl::convolution_backward_weights>(Backward{}, d.x, d.w_any, d.y, d, hint);
        keep(p, d.y, d.x, p.diff_weights_desc(), p.diff_weights_desc());
      }
    }
  } catch (const dnnl::error& error) {
    fail(ErrorCategory::internal, "oneDNN has no convolution for ", shape.images, " images of ", shape.height, " x ",
         shape.width, " x ", shape.channels, ": ", error.what());
  }
  entry.reset(new OneDnnConvolution(std::move(state)));
  return *entry;
}

size_t OneDnnConvolution::packed_bytes() const { return state_->weight_packed.get_size(); }

namespace {

void reorder(const memory::desc& from, const void* source, const memory::desc& to, void* target) {
  memory a(from, engine(), const_cast<void*>(source)), b(to, engine(), target);
  dnnl::reorder(a, b).execute(stream(), a, b);
  stream().wait();
}

}  // namespace

void OneDnnConvolution::pack(const void* ohwi, void* packed) const {
  reorder(state_->weight_ohwi, ohwi, state_->weight_packed, packed);
}

void OneDnnConvolution::unpack(const void* packed, void* ohwi) const {
  reorder(state_->weight_packed, packed, state_->weight_ohwi, ohwi);
}

void OneDnnConvolution::run(const void* first, const void* second, void* result) const {
  const auto scratch = Buffer::allocate(state_->scratchpad.get_size(), {});
  const auto wrap = [](const memory::desc& description, const void* data) {
    return memory(description, engine(), const_cast<void*>(data));
  };
  const memory a = wrap(state_->first, first), b = wrap(state_->second, second), c = wrap(state_->result, result);
  std::unordered_map<int, memory> arguments{{DNNL_ARG_SCRATCHPAD, wrap(state_->scratchpad, scratch->data())}};
  switch (state_->pass) {
    case ConvPass::forward:
    case ConvPass::codes:
      arguments.insert({{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, c}});
      break;
    case ConvPass::backward_input:
      arguments.insert({{DNNL_ARG_DIFF_DST, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DIFF_SRC, c}});
      break;
    case ConvPass::backward_weight:
      arguments.insert({{DNNL_ARG_DIFF_DST, a}, {DNNL_ARG_SRC, b}, {DNNL_ARG_DIFF_WEIGHTS, c}});
      break;
  }
  state_->primitive.execute(stream(), arguments);
  stream().wait();
}

bool has_vnni() {
  // oneDNN is asked, not the processor: ONEDNN_MAX_CPU_ISA and its build may hold it below what the processor can.
  constexpr auto kWanted = static_cast<unsigned>(dnnl::cpu_isa::avx512_core_vnni);
  static const auto used = static_cast<unsigned>(dnnl::get_effective_cpu_isa());
  return (used & kWanted) == kWanted;
}

}  // namespace apotnet
