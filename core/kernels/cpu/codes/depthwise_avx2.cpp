#include <cstring>

#include "core/kernels/cpu/codes/depthwise.h"
#include "core/kernels/cpu/codes/kernels.h"

namespace apotnet {
namespace {

#include "core/kernels/cpu/codes/depthwise_body.h"

}  // namespace

std::unique_ptr<CodesConv> make_depthwise_avx2(const CodesConvShape& shape, const CodesConvOperands& operands) {
  return make_depthwise_with("depthwise-avx2", Isa::avx2, depthwise_row, shape, operands);
}

}  // namespace apotnet
