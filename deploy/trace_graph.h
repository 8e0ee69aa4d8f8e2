#pragma once

#include <map>
#include <optional>
#include <set>

#include "core/kernels/fused.h"
#include "core/kernels/trace.h"

namespace apotnet {

/// Which traced call reads and writes which value that depends on the network's input. A value is known by its memory,
/// which the trace keeps alive.
class TraceGraph {
 public:
  using Value = const std::byte*;

  /// Error(unavailable) naming a kernel that depends on the input and has no rule here.
  TraceGraph(const std::vector<TracedCall>& calls, const Tensor& input);

  const TracedCall& call(size_t index) const { return calls_[index]; }
  size_t size() const { return calls_.size(); }
  /// Whether a call depends on the input; the others made constants.
  bool depends_on_input(size_t call) const { return outputs_.contains(call); }
  Value output_of(size_t call) const { return outputs_.at(call); }
  const std::vector<size_t>& readers(Value value) const;

  /// What follows a convolution or another kernel, is read by nothing else, and is computed with it.
  struct Chain {
    std::optional<BatchNormTerms> norm{};
    std::optional<Value> shortcut{};
    bool relu = false;
    Value end = nullptr;  ///< the float values, or null where the last kernel makes codes at once
    size_t end_call = 0;
    std::vector<size_t> quantizers{};  ///< calls that make codes of the values
    std::vector<size_t> calls{};       ///< all that it is made of, from the first on
  };
  Chain follow(size_t call) const;

  /// What a quantizing call reads and writes, alone or fused.
  const Tensor& alpha_of(size_t quantizer) const;
  const Quantized& codes_of(size_t quantizer) const;

 private:
  const size_t* only_reader(Value value, const char* kernel) const;
  void take(Chain& chain, size_t call) const;
  void follow_fused(Chain& chain) const;

  const std::vector<TracedCall>& calls_;
  std::map<size_t, Value> outputs_;
  std::map<Value, size_t> writers_;
  std::map<Value, std::vector<size_t>> readers_;
};

}  // namespace apotnet
