#pragma once

#include <optional>
#include <variant>

#include "deploy/integer_network.h"

namespace apotnet {

/// Where the codes of a quantizer go.
struct CodesTarget {
  float alpha;
  std::shared_ptr<const CodeTable> table;
  size_t frame;
  CodeFrame layout;
  bool has_sign = false;
};

/// Convolution of a frame to sums, through thresholds, to the codes of one other frame.
struct CodesStepSettings {
  std::string layer;
  std::shared_ptr<const CodesConv> conv;
  size_t input;  ///< frame
  Thresholds thresholds;
  CodesTarget target;
};

/// Float values from the sums of a convolution or from a plane: normalised, added to a shortcut, rectified; stored, and
/// quantized for up to two readers.
struct ValuesStepSettings {
  std::string layer;
  std::shared_ptr<const CodesConv> conv;  ///< null: values come from the plane `input`
  size_t input;                           ///< frame, or plane
  Shape shape;                            ///< [1, H, W, C] of the values
  float step = 1;                         ///< of the sums
  std::vector<float> scale{}, shift{};    ///< [C] or empty
  std::optional<size_t> shortcut{};       ///< plane
  bool relu = false;
  std::optional<size_t> output{};  ///< plane
  std::vector<CodesTarget> targets{};
};

/// A float kernel of the contract, called as evaluation called it.
struct KernelStepSettings {
  std::string name;
  size_t input, output;  ///< planes
  std::function<void(const Tensor& x, Tensor& y)> call;
};

using StepSettings = std::variant<CodesStepSettings, ValuesStepSettings, KernelStepSettings>;
std::unique_ptr<NetworkStep> make_step(StepSettings settings);

/// Calls one of the two for every plane and frame that a step reads or writes.
void for_each_slot(StepSettings& settings, const std::function<void(size_t& plane)>& plane,
                   const std::function<void(size_t& frame)>& frame);

}  // namespace apotnet
