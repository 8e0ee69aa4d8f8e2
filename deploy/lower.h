#pragma once

#include <memory>

#include "core/kernels/trace.h"
#include "deploy/steps.h"

namespace apotnet {

/// A network's steps in their order, and what they read and write.
struct LoweredNetwork {
  NetworkPlan plan;
  std::vector<StepSettings> steps;
};

/// Turns a trace of one evaluation of one image on the CPU into the steps of an integer network.
///
/// What does not depend on `input` [1, H, W, C] is a constant of the network and its value stands in the trace: weight
/// codes need no rule of their own. A convolution of codes takes up the batch norm, addition and ReLU that follow it
/// in this order and nothing else reads; the quantizers behind them become its outputs. The other kernels stay float
/// calls, so that a new model of such layers needs no change here.
/// Error(unavailable), naming the kernel where it is one, for what an integer network cannot hold: codes wider than 8
/// bits, no quantized convolution at all, a kernel without a rule or in another place (a batch norm behind a sum).
LoweredNetwork lower(const std::vector<TracedCall>& trace, const Tensor& input, const Tensor& logits);

}  // namespace apotnet
