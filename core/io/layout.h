#pragma once

#include "core/tensor/tensor.h"

namespace apotnet {

/// Between PyTorch's layouts and ours. Tensors that are not four-dimensional are the same in both.
Tensor weight_from_pytorch(const Tensor& oihw);      ///< OIHW -> OHWI
Tensor weight_to_pytorch(const Tensor& ohwi);        ///< OHWI -> OIHW
Tensor activation_from_pytorch(const Tensor& nchw);  ///< NCHW -> NHWC
Tensor activation_to_pytorch(const Tensor& nhwc);    ///< NHWC -> NCHW

}  // namespace apotnet
