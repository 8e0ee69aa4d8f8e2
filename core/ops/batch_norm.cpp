#include "core/ops/batch_norm.h"

#include <algorithm>

#include "core/base/error.h"
#include "core/kernels/call.h"

namespace apotnet {

void require_channels(const Variable& x, const Variable& gamma) {
  const Shape& shape = x.shape();
  require(shape.rank() >= 2 && gamma.shape() == Shape{shape[shape.rank() - 1]}, "batch norm: input ", shape,
          " does not end in the ", gamma.shape(), " channels of its parameters");
}

void add_contribution(Tensor& total, const Tensor& contribution) {
  if (!total.defined())
    total = contribution;
  else
    call("accumulate", &ElementwiseKernels::accumulate, contribution, total);
}

namespace {

// As torch.chunk cuts a batch, and so DataParallel: sub-batches of one size, the last with fewer images. A last one of
// a single image, whose variance would be 0 at 1x1, joins the one before it.
std::vector<NormPart> sub_batches(int64_t images, int64_t ghost_batch) {
  if (ghost_batch <= 0 || ghost_batch >= images) return {{0, images, {}, {}}};
  const int64_t pieces = (images + ghost_batch - 1) / ghost_batch, size = (images + pieces - 1) / pieces;
  std::vector<NormPart> parts;
  for (int64_t first = 0; first < images; first += size) {
    if (images - first == 1 && !parts.empty())
      ++parts.back().count;
    else
      parts.push_back({first, std::min(size, images - first), {}, {}});
  }
  return parts;
}

}  // namespace

std::vector<NormPart> batch_statistics(const Variable& x, const Variable& gamma, double momentum, Tensor& running_mean,
                                       Tensor& running_variance, int64_t ghost_batch) {
  require_channels(x, gamma);
  std::vector<NormPart> parts = sub_batches(x.shape()[0], ghost_batch);
  for (NormPart& part : parts) {
    if (const auto& known = x.statistics(); known && parts.size() == 1) {
      part.mean = known->mean;
      part.variance = known->variance;
      continue;
    }
    part.mean = gamma.value().like(gamma.shape());
    part.variance = gamma.value().like(gamma.shape());
    call("batch_statistics", &NormKernels::batch_statistics, part.of(x.value()), part.mean, part.variance);
  }
  const NormPart& first = parts.front();
  call("update_running_statistics", &NormKernels::update_running_statistics, first.mean, first.variance,
       first.of(x.value()).elements() / first.mean.elements(), momentum, running_mean, running_variance);
  return parts;
}

Variable batch_norm_train(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                          double momentum, Tensor& running_mean, Tensor& running_variance, int64_t ghost_batch) {
  const auto parts = batch_statistics(x, gamma, momentum, running_mean, running_variance, ghost_batch);
  Tensor y = x.value().like(x.shape());
  for (const NormPart& part : parts) {
    Tensor ys = part.of(y);
    call("batch_norm", &NormKernels::batch_norm, part.of(x.value()), part.mean, part.variance, gamma.value(),
         beta.value(), epsilon, ys);
  }

  return Variable::record(y, {x, gamma, beta}, [=](const Tensor& gy, Gradients& gradients) {
    Tensor gx = gy.like(x.shape()), ggamma, gbeta;
    for (const NormPart& part : parts) {
      Tensor gxs = part.of(gx), ggammas = gy.like(gamma.shape()), gbetas = gy.like(gamma.shape());
      call("batch_norm_backward", &NormKernels::batch_norm_backward, part.of(gy), part.of(x.value()), part.mean,
           part.variance, gamma.value(), epsilon, gxs, ggammas, gbetas);
      add_contribution(ggamma, ggammas);
      add_contribution(gbeta, gbetas);
    }
    gradients.add(0, gx);
    gradients.add(1, ggamma);
    gradients.add(2, gbeta);
  });
}

Variable batch_norm_eval(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                         const Tensor& running_mean, const Tensor& running_variance) {
  require_channels(x, gamma);
  Tensor y = x.value().like(x.shape());
  call("batch_norm", &NormKernels::batch_norm, x.value(), running_mean, running_variance, gamma.value(), beta.value(),
       epsilon, y);

  return Variable::record(y, {x, gamma, beta}, [=](const Tensor& gy, Gradients& gradients) {
    Tensor gx = gy.like(x.shape()), ggamma = gy.like(gamma.shape()), gbeta = gy.like(gamma.shape());
    call("batch_norm_eval_backward", &NormKernels::batch_norm_eval_backward, gy, x.value(), running_mean,
         running_variance, gamma.value(), epsilon, gx, ggamma, gbeta);
    gradients.add(0, gx);
    gradients.add(1, ggamma);
    gradients.add(2, gbeta);
  });
}

}  // namespace apotnet
