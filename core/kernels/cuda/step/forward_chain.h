#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "core/kernels/cuda/step/step_kernels.h"
#include "core/kernels/cuda/step/tile_plan.h"

namespace apotnet::cuda {

/// A convolution as a member of a chain.
struct ForwardLink {
  QuantizedConvolution convolution;
  TilePlan plan;
  std::optional<BatchNormTerms> norm;   // behind it, where the chain goes on from its sums
  std::shared_ptr<StoredValue> stored;  // what it rounds, where that is stored
  Tensor distances;                     // of this value to the levels of its own quantizer
  size_t calls = 2;                     // of the step that have it among their arguments, as far as the chain does
                                        // them: at least the one that makes it, and the quantizer
  bool is_kept = false;                 // its value is the one kept: out of memory at first
  bool adds = false;                    // or that of the batch norm plus the one kept
  bool keeps = false;                   // and is kept in its place
  bool is_projection = false;           // of the value of the next link; its sums, normalised, are kept in the end
};

/// Quantized convolutions that follow each other in one launch. A block has one image from the first convolution to the
/// last: sums and the value that a shortcut adds stay in its registers, codes and weights in its shared memory. After
/// each convolution all blocks meet, for a batch norm needs the statistics of the whole batch. What the backward pass
/// reads is written; nothing of it is read. The bits are those of launch_quantize_and_convolve() for one after the
/// other.
class ForwardChain {
 public:
  /// Makes the convolution part of the chain if it goes on from there: its value is that of the last sums behind their
  /// batch norm and a ReLU, plus where it is a sum the value before the block; or it projects that value. The first may
  /// round any value. Images have to fit a block, and the batch the device.
  /// `stored` is where the convolution's `values` are defined.
  bool add(const QuantizedConvolution& convolution, const std::shared_ptr<StoredValue>& stored);
  bool empty() const { return links_.empty(); }
  /// Makes the chain end with this value, if that is found behind its last sums as a link's would be.
  bool end_with(const PooledValue& end);
  /// No link comes any more: stored values learn what the chain does with them, and the first convolution, if there is
  /// one, whether the chain begins with it.
  void finish(const std::shared_ptr<ImageConvolution>& image);
  void launch();

 private:
  bool follows(const Value& value) const;
  void go_on(const Value& value);
  bool projects(const QuantizedConvolution& convolution) const;
  bool is_kept(const Operand& operand) const;

  std::vector<ForwardLink> links_;
  std::shared_ptr<ImageConvolution> image_;  // may be null
  std::optional<PooledValue> end_;
  size_t kept_ = 0;  // the link whose value, or projection, is kept
};

/// How a block computes a whole image; not a value where it cannot.
std::optional<TilePlan> plan_of_image(const ConvolutionSizes& sizes);
/// How many images and how many links a launch may have.
int images_of_forward_chain();
extern const size_t kMostForwardLinks;
/// Whether a block has room for the mean over the plan's outputs.
bool fits_mean(const TilePlan& plan);
/// `image` and `end` may be null.
void launch_forward_chain(std::vector<ForwardLink>& links, ImageConvolution* image, PooledValue* end);

}  // namespace apotnet::cuda
