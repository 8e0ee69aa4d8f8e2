#pragma once

#include <cstddef>

namespace apotnet::test {

/// Bytes of the largest single operator new since reset_largest_allocation(): every test program replaces operator new.
size_t largest_allocation();
void reset_largest_allocation();

}  // namespace apotnet::test
