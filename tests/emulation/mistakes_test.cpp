// Planted mistakes, each caught by the emulation or a sanitizer; and none is seen where there is none.
#include <doctest/doctest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/support/run_program.h"

using namespace apotnet::test;

TEST_CASE("cuda: planted mistakes are caught, and the same kernels without them are not") {
  using Mistakes = std::vector<std::pair<std::string, std::string>>;
#ifdef __SANITIZE_THREAD__
  const Mistakes mistakes{
      {"missing_barrier", "data race"}, {"missing_fence", "data race"}, {"missing_grid_barrier", "data race"}};
#else
  const Mistakes mistakes{{"missing_barrier", "caught: wrong number"},
                          {"divergent_barrier", "a barrier at"},
                          {"missing_event", "caught: wrong number"},
                          {"out_of_bounds", "heap-buffer-overflow"},
                          {"misaligned_vector", "misaligned address"},
                          {"misaligned_matrix", "a row of a matrix that does not begin at a multiple of 16 bytes at"},
                          {"host_read", "use-after-poison"},
                          {"uninitialised_read", "caught: wrong number"},
                          {"wrong_leading_dimension", "matrix a needs 28 bytes"},
                          {"illegal_launch", "invalid configuration"},
                          {"forbidden_in_capture", "not permitted when stream is capturing"},
                          {"wrong_shuffle_mask", "lanes that never come"},
                          {"missing_grid_barrier", "caught: wrong number"},
                          {"missing_block", "that 1 of them never reach"},
                          {"meeting_in_turn", "whose blocks do not run together"},
                          {"too_many_together", "too many blocks"},
                          {"matrix_of_device_memory", "a row of a matrix outside shared memory at"},
                          {"store_to_shared_memory", "a store to device memory outside it at"}};
#endif
  for (const auto& [mistake, sign] : mistakes) {
    CAPTURE(mistake);
    const Finished wrong = run_program(std::string(APOTNET_MISTAKES " ") + mistake);
    INFO(wrong.out, wrong.error);
    CHECK(wrong.exit_code != 0);
    CHECK((wrong.out + wrong.error).find(sign) != std::string::npos);
    const Finished right = run_program(std::string(APOTNET_MISTAKES " ") + mistake + " right");
    INFO(right.out, right.error);
    CHECK(right.exit_code == 0);
  }
}
