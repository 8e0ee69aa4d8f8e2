#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "core/kernels/cuda/step/step_kernels.h"

namespace apotnet::cuda {

/// What launch_input_gradient() takes, but for what follows the convolution.
struct ConvolutionGradient {
  ConvolutionOutputGradient gy;
  Quantized w;
  Conv2dGeometry geometry;
};

/// An input gradient as a member of a chain.
struct GradientLink {
  std::shared_ptr<const ConvolutionGradient> convolution;  // stored gradients may become known later
  ValueGradient value;
  std::shared_ptr<StoredValue> stored;  // the value, where distances of it are there
  StoredValue::Rounded rounded;         // by its own quantizer
  bool is_projection = false;           // of the gradient that the next link begins with; its own is kept
  bool adds = false;                    // the one kept is the value's `other`
  bool keeps = false;                   // its own is kept in its place
  bool is_given = true;  // gy's coefficients are in memory, else the last link but a projection has found them
  int norm = 0;          // which of a block's two sets of them it takes: given ones lie at the link's own number in
                         // the chain, else they are those of this batch norm of the link that found them
  int users = 0;         // who may read `out`, but for links of the chain; it is stored for them
};

/// Input gradients that follow each other in one launch: a ForwardChain backwards. A block has one image; gradients
/// stay in its registers, and after each link all blocks meet for the sums of the batch norms. Gradients are rounded to
/// bf16 wherever launch_input_gradient() stores them, so that they are the same but for the order of these sums.
class GradientChain {
 public:
  /// Makes the input gradient part of the chain if it goes on from there. The first may begin with any gradient.
  bool add(const std::shared_ptr<const ConvolutionGradient>& convolution, const ValueGradient& value);
  bool empty() const { return links_.empty(); }
  /// Makes the gradient of the first convolution's weights the end of the chain, if `gradient`, that of its output, is
  /// what the last link has found, and its batch norm's only.
  bool end_with(const std::shared_ptr<ImageConvolution>& image, const NormInputGradient& gradient);
  /// No link comes any more: stored values, known by their address, learn what the chain does with them.
  void finish(const std::map<const std::byte*, std::shared_ptr<StoredValue>>& stored_values);
  void launch();

 private:
  bool follows(GradientLink& link) const;

  std::vector<GradientLink> links_;
  std::shared_ptr<ImageConvolution> image_;   // may be null
  Tensor gradient_, kept_;                    // what the next link begins with, and what is kept
  std::optional<size_t> found_by_, kept_by_;  // by these links; out of memory at first
};

/// How many batch norms may wait for the gradient of a value of so many channels. Images of 16 take the most registers,
/// and a projection in a chain leads to more channels.
constexpr int norms_at_most(int64_t channels) { return channels == 16 ? 1 : 2; }
/// Whether a block can compute the input gradient of a whole image.
bool fits_gradient_chain(const ConvolutionSizes& sizes);
/// How many images and how many links a launch may have.
int images_of_gradient_chain();
extern const size_t kMostGradientLinks;
/// `image` may be null.
void launch_gradient_chain(std::vector<GradientLink>& links, ImageConvolution* image);

}  // namespace apotnet::cuda
