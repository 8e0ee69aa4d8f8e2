#pragma once

#include "core/kernels/cpu/codes/codes_conv.h"

namespace apotnet {

// The makers in the list of select_conv.cpp; each returns null where its kernel does not fit.
std::unique_ptr<CodesConv> make_plain(const CodesConvShape& shape, const CodesConvOperands& operands);
std::unique_ptr<CodesConv> make_portable(const CodesConvShape& shape, const CodesConvOperands& operands);
std::unique_ptr<CodesConv> make_direct_avx2(const CodesConvShape& shape, const CodesConvOperands& operands);
std::unique_ptr<CodesConv> make_direct_vnni(const CodesConvShape& shape, const CodesConvOperands& operands);

std::unique_ptr<CodesConv> make_depthwise(const CodesConvShape& shape, const CodesConvOperands& operands);
std::unique_ptr<CodesConv> make_depthwise_avx2(const CodesConvShape& shape, const CodesConvOperands& operands);
std::unique_ptr<CodesConv> make_lookup(const CodesConvShape& shape, const CodesConvOperands& operands);
std::unique_ptr<CodesConv> make_winograd_avx2(const CodesConvShape& shape, const CodesConvOperands& operands);
std::unique_ptr<CodesConv> make_winograd_vnni(const CodesConvShape& shape, const CodesConvOperands& operands);

}  // namespace apotnet
