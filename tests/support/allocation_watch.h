#pragma once

#include <atomic>
#include <cstddef>

namespace apotnet::test {

/// The most bytes that this program asked `new` for at once since this was last set to 0. It shows that a damaged file
/// cannot ask for memory that it does not fill.
extern std::atomic<size_t> largest_allocation;

}  // namespace apotnet::test
