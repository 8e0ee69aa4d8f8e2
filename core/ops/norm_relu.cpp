#include "core/ops/norm_relu.h"

#include "core/base/error.h"
#include "core/kernels/call.h"

namespace apotnet {
namespace {

BatchNormTerms terms_of(const UncomputedNorm& norm, const NormPart& part) {
  return {part.mean, part.variance, norm.gamma.value(), norm.beta.value(), norm.epsilon, norm.constant_statistics};
}

// A gradient that may be changed in place.
Tensor own(Tensor gradient) { return gradient.unshared() ? std::move(gradient) : gradient.clone(); }

// The gradients of gamma and beta, summed over the parts, and the room for one part's.
struct ParameterGradients {
  explicit ParameterGradients(const UncomputedNorm& norm) : like(norm.gamma.value()) {}
  // `backward` writes what a part contributes to gamma and beta.
  template <typename Backward>
  void add_part(Backward&& backward) {
    Tensor ggamma = like.like(like.shape()), gbeta = like.like(like.shape());
    backward(ggamma, gbeta);
    add_contribution(gamma, ggamma);
    add_contribution(beta, gbeta);
  }
  const Tensor like;
  Tensor gamma, beta;
};

}  // namespace

UncomputedNorm uncomputed_norm_train(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                                     double momentum, Tensor& running_mean, Tensor& running_variance,
                                     int64_t ghost_batch) {
  return {x,       gamma, beta, batch_statistics(x, gamma, momentum, running_mean, running_variance, ghost_batch),
          epsilon, false};
}

UncomputedNorm uncomputed_norm_eval(const Variable& x, const Variable& gamma, const Variable& beta, double epsilon,
                                    const Tensor& running_mean, const Tensor& running_variance) {
  require_channels(x, gamma);
  return {x, gamma, beta, {{0, x.shape()[0], running_mean, running_variance}}, epsilon, true};
}

Variable norm_relu(const UncomputedNorm& norm) {
  const Variable& x = norm.x;
  Tensor y = x.value().like(x.shape());
  for (const NormPart& part : norm.parts) {
    Tensor ys = part.of(y);
    call("norm_relu", &FusedKernels::norm_relu, part.of(x.value()), terms_of(norm, part), ys);
  }

  return Variable::record(y, {x, norm.gamma, norm.beta}, [norm](Tensor gy, Gradients& gradients) {
    const Tensor g = own(std::move(gy));
    ParameterGradients parameters(norm);
    for (const NormPart& part : norm.parts)
      parameters.add_part([&](Tensor& ggamma, Tensor& gbeta) {
        Tensor gs = part.of(g);
        call("norm_relu_backward", &FusedKernels::norm_relu_backward, part.of(norm.x.value()), terms_of(norm, part), gs,
             ggamma, gbeta);
      });
    gradients.add(0, g);
    gradients.add(1, parameters.gamma);
    gradients.add(2, parameters.beta);
  });
}

Variable norm_add_relu(const UncomputedNorm& norm, const Variable& shortcut) {
  const Variable& x = norm.x;
  require(x.shape() == shortcut.shape(), "norm_add_relu: shapes ", x.shape(), " and ", shortcut.shape(), " differ");
  Tensor y = x.value().like(x.shape());
  for (const NormPart& part : norm.parts) {
    Tensor ys = part.of(y);
    call("norm_add_relu", &FusedKernels::norm_add_relu, part.of(x.value()), terms_of(norm, part),
         part.of(shortcut.value()), ys);
  }

  return Variable::record(y, {x, norm.gamma, norm.beta, shortcut}, [norm, y](Tensor gy, Gradients& gradients) {
    const Tensor g = own(std::move(gy)), gx = g.like(g.shape());
    ParameterGradients parameters(norm);
    for (const NormPart& part : norm.parts)
      parameters.add_part([&](Tensor& ggamma, Tensor& gbeta) {
        Tensor gs = part.of(g), gxs = part.of(gx);
        call("norm_add_relu_backward", &FusedKernels::norm_add_relu_backward, part.of(norm.x.value()), part.of(y),
             terms_of(norm, part), gs, gxs, ggamma, gbeta);
      });
    gradients.add(0, gx);
    gradients.add(1, parameters.gamma);
    gradients.add(2, parameters.beta);
    gradients.add(3, g);
  });
}

namespace {

Quantized part_of(const Quantized& batch, const NormPart& part) {
  return {part.of(batch.codes), batch.step, batch.levels};
}

// What the clipped values of relu(batch norm) alone say of the threshold (F16); g is not changed.
Tensor clipped_threshold_gradient(const UncomputedNorm& norm, const NormPart& part, const Tensor& g,
                                  const Variable& alpha) {
  Tensor y = g.like(g.shape());
  call("norm_relu", &FusedKernels::norm_relu, part.of(norm.x.value()), terms_of(norm, part), y);
  return clipped_threshold_gradient(g, y, alpha, /*has_sign=*/false);
}

}  // namespace

Variable norm_relu_quantize(const UncomputedNorm& norm, const Variable& alpha, const LevelSet& levels,
                            const std::string& layer, const ThresholdGradient& learning) {
  require_usable_threshold(alpha, layer, "input");
  Quantized out = Quantized::like(norm.x.value(), levels, /*has_sign=*/false);
  for (const NormPart& part : norm.parts) {
    Quantized outs = part_of(out, part);
    call("norm_relu_quantize", &FusedKernels::norm_relu_quantize, part.of(norm.x.value()), terms_of(norm, part),
         alpha.value(), outs);
  }

  //   dL/dy     = g where 0 < y <= alpha, else 0, y = relu(batch norm); from there on the gradient of batch norm
  //   dL/dalpha = sum g * (1 where z > 1, else q - z), z = y / alpha
  return Variable::record(
      out, {norm.x, norm.gamma, norm.beta, alpha}, [=](Tensor values_gradient, Gradients& gradients) {
        const Tensor g = own(std::move(values_gradient));
        Tensor galpha;
        ParameterGradients parameters(norm);
        for (const NormPart& part : norm.parts)
          parameters.add_part([&](Tensor& ggamma, Tensor& gbeta) {
            Tensor gs = part.of(g), galphas = g.like({}), clipped;
            if (!learning.reparameterized) clipped = clipped_threshold_gradient(norm, part, gs, alpha);
            call("norm_relu_quantize_backward", &FusedKernels::norm_relu_quantize_backward, part.of(norm.x.value()),
                 terms_of(norm, part), alpha.value(), part_of(out, part), gs, ggamma, gbeta, galphas);
            add_contribution(galpha, learning.reparameterized ? galphas : clipped);
          });
        gradients.add(0, g);
        gradients.add(1, parameters.gamma);
        gradients.add(2, parameters.beta);
        gradients.add(3, scaled_gradient(galpha, learning.scale));
      });
}

}  // namespace apotnet
