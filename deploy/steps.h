#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <variant>

#include "deploy/integer_network.h"
#include "deploy/thresholds.h"

namespace apotnet {

/// Where the codes of a quantizer go.
struct CodesTarget {
  float alpha;
  std::shared_ptr<const CodeTable> table;
  size_t frame;
  CodeFrame layout;
  bool has_sign = false;
};

/// A convolution of codes, as the CPU computes it and as it was traced.
struct ConvolutionOfCodes {
  std::shared_ptr<const CodesConv> cpu;
  Tensor weights;  ///< s8 [O, KH, KW, C / groups]
  Conv2dGeometry geometry{};
};

/// Convolution of a frame to sums, through thresholds, to the codes of one other frame.
struct CodesStepSettings {
  std::string layer;
  ConvolutionOfCodes convolution;
  size_t input;  ///< frame
  Thresholds thresholds;
  CodesTarget target;
};

/// Float values from the sums of a convolution or from a plane: normalised, added to a shortcut, rectified; stored, and
/// quantized for up to two readers.
struct ValuesStepSettings {
  std::string layer;
  std::optional<ConvolutionOfCodes> convolution;  ///< none: values come from the plane `input`
  size_t input;                                   ///< frame, or plane
  Shape shape;                                    ///< [1, H, W, C] of the values
  float step = 1;                                 ///< of the sums
  std::vector<float> scale{}, shift{};            ///< [C] or empty
  std::optional<size_t> shortcut{};               ///< plane
  bool relu = false;
  std::optional<size_t> output{};  ///< plane
  std::vector<CodesTarget> targets{};
};

/// A float kernel of the contract, called as evaluation called it.
struct KernelStepSettings {
  std::string name;
  size_t input, output;           ///< planes
  std::vector<Tensor> constants;  ///< weights, wherever x is
  std::function<void(const Tensor& x, const std::vector<Tensor>& constants, Tensor& y)> call;
};

using StepSettings = std::variant<CodesStepSettings, ValuesStepSettings, KernelStepSettings>;
/// One line: what it computes, and with which kernel of the CPU.
std::string describe(const StepSettings& settings, bool names_kernel);

/// Calls one of the two for every plane and frame that a step reads or writes.
void for_each_slot(StepSettings& settings, const std::function<void(size_t& plane)>& plane,
                   const std::function<void(size_t& frame)>& frame);

}  // namespace apotnet
