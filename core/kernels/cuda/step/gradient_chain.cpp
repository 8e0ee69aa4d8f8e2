#include "core/kernels/cuda/step/gradient_chain.h"

#include <algorithm>

namespace apotnet::cuda {

bool GradientChain::follows(GradientLink& link) const {
  const NormInputGradient& computed = *link.convolution->gy.computed;
  if (!is_same(computed.g, gradient_)) return false;
  link.is_given = !found_by_;
  if (link.is_given) {
    link.norm = static_cast<int>(links_.size());
    return link.norm < 2;  // a projection, and the convolution beside it
  }
  const std::vector<NormGradient>& norms = links_[*found_by_].value.norms;
  for (link.norm = 0; link.norm < static_cast<int>(norms.size()); ++link.norm)
    if (is_same(norms[static_cast<size_t>(link.norm)].coefficients, computed.coefficients)) return true;
  return false;
}

bool GradientChain::add(const std::shared_ptr<const ConvolutionGradient>& convolution, const ValueGradient& value) {
  const auto& [gy, w, geometry] = *convolution;
  // What is read beside the value's own operand is sums: there is no room for the reading of floats.
  const auto reads_floats = [&](const NormGradient& norm) {
    return !norm.operand.sums && !is_same(norm.operand.values, value.value.a.values);
  };
  if (!gy.computed || !gy.computed->x.sums || std::ranges::any_of(value.norms, reads_floats) || value.value.b ||
      !value.quantized || static_cast<int>(value.norms.size()) > norms_at_most(w.shape()[3]) ||
      value.out.dtype() != DType::bf16 || links_.size() >= kMostGradientLinks)
    return false;
  const ConvolutionSizes sizes = sizes_of(value.out.shape(), w.shape(), geometry);
  if (!fits_gradient_chain(sizes) || sizes.images > images_of_gradient_chain()) return false;
  GradientLink link{.convolution = convolution, .value = value, .stored = {}, .rounded = {}};
  link.is_projection = sizes.taps() == 1;
  if (link.is_projection && (!value.norms.empty() || value.masks || value.other.defined())) return false;
  if (links_.empty()) {
    gradient_ = kept_ = gy.computed->g;
  } else if (value.levels != links_[0].value.levels || !follows(link)) {
    return false;
  }
  // The one kept is added where the same lanes have it, which is where it has this one's shape.
  link.adds = value.other.defined();
  if (link.adds && !(is_same(value.other, kept_) && value.other.shape() == value.out.shape())) return false;

  // A sum is stored, so its batch norm is not that of the value's own operand.
  const bool is_sum = value.norms.size() == 1 && !value.value.a.norm;
  link.keeps = link.is_projection || is_sum;
  link.users = std::max(static_cast<int>(value.norms.size()), 1) + is_sum;
  if (found_by_) --links_[*found_by_].users;
  if (link.adds && kept_by_) --links_[*kept_by_].users;
  if (link.keeps) kept_ = value.out, kept_by_ = links_.size();
  if (!link.is_projection) gradient_ = value.out, found_by_ = links_.size();
  links_.push_back(std::move(link));
  return true;
}

bool GradientChain::end_with(const std::shared_ptr<ImageConvolution>& image, const NormInputGradient& gradient) {
  if (links_.empty()) return false;
  const GradientLink& last = links_.back();
  const auto& [operand, b, relu] = last.value.value;
  if (last.is_projection || !is_same(operand.values, image->y) || !operand.norm || b || !relu || !last.value.masks ||
      last.value.norms.size() != 1 || last.users != 1 ||
      !is_same(last.value.norms[0].coefficients, gradient.coefficients))
    return false;
  image_ = image;
  return true;
}

void GradientChain::finish(const std::map<const std::byte*, std::shared_ptr<StoredValue>>& stored_values) {
  if (links_.size() == 1) return;
  if (image_) image_->calls -= 3;  // the quantizer, the batch norm and the weights' gradient
  for (GradientLink& link : links_) {
    const Operand& operand = link.value.value.a;
    const auto found = operand.values.defined() ? stored_values.find(operand.values.raw()) : stored_values.end();
    if (found == stored_values.end() || operand.norm) continue;
    for (const StoredValue::Rounded& rounded : found->second->rounded) {
      if (!is_same(rounded.alpha, link.value.alpha)) continue;
      link.stored = found->second;
      link.rounded = rounded;
      link.stored->calls -= link.value.masks ? 2 : 1;  // the quantizer, and the end of the block that made the value
      break;
    }
  }
}

void GradientChain::launch() {
  GradientLink& link = links_[0];
  if (links_.size() > 1)
    launch_gradient_chain(links_, image_ && !image_->is_read() ? image_.get() : nullptr);
  else
    launch_input_gradient(link.convolution->gy, link.convolution->w, link.convolution->geometry, link.value);
}

}  // namespace apotnet::cuda
