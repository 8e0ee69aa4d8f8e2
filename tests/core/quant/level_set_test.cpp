#include "core/quant/level_set.h"

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "core/base/error.h"
#include "core/quant/projection.h"
#include "core/quant/quantized.h"
#include "tests/support/check_data.h"
#include "tests/support/test_data.h"

using namespace apotnet;

namespace {

struct Table {
  int bits;
  std::vector<int64_t> codes;
};

// docs of the numbers, section "codes x step"; K is the last code.
const std::vector<Table> kApotTables{
    {2, {0, 1, 2, 4}},
    {3, {0, 1, 2, 3, 4, 6, 8, 10}},
    {4, {0, 1, 2, 3, 4, 6, 8, 9, 12, 16, 18, 24, 32, 33, 36, 48}},
    {5, {0,  1,  2,  3,  4,  5,  6,  7,  8,  10, 12, 14, 16, 17, 20, 21,
         24, 28, 32, 34, 36, 38, 48, 52, 64, 65, 68, 69, 72, 76, 96, 100}},
};

struct SetName {
  LevelMethod method;
  int bits;
};

const std::vector<SetName> kAllSets = [] {
  std::vector<SetName> sets{{LevelMethod::ternary, 1}};
  for (int bits = 2; bits <= 8; ++bits) sets.push_back({LevelMethod::apot, bits});
  for (int bits = 2; bits <= 5; ++bits) sets.push_back({LevelMethod::pot, bits});
  for (int bits = 1; bits <= 8; ++bits) sets.push_back({LevelMethod::uniform, bits});
  return sets;
}();

// The definition: the level nearest to numerator / (2 K), both in exact integers; of two as near, the one the rule
// says.
int64_t nearest_code(const LevelSet& levels, int64_t twice_k_z) {
  int64_t best = 0;
  for (const int64_t code : levels.codes()) {
    const int64_t distance = std::abs(2 * code - twice_k_z), least = std::abs(2 * best - twice_k_z);
    if (distance < least || (distance == least && !levels.ties_to_lower())) best = code;
  }
  return best;
}

template <typename Float>
int64_t project(const LevelSet& levels, Float z) {
  return levels.code_of_half_step(half_steps(z, levels.k(), levels.ties_to_lower()));
}

}  // namespace

TEST_CASE("level set: apot codes of 2 to 6 bits are the tables of the semantics") {
  for (const Table& table : kApotTables) {
    CAPTURE(table.bits);
    const LevelSet& levels = LevelSet::of_magnitude(LevelMethod::apot, table.bits);
    CHECK(std::vector<int64_t>(levels.codes().begin(), levels.codes().end()) == table.codes);
    CHECK(levels.k() == table.codes.back());
  }
  // B = 6: K = 448, in units of 2^-9 before the normalisation.
  std::set<int64_t> six;
  for (const int64_t a : {0, 256, 32, 4})
    for (const int64_t b : {0, 128, 16, 2})
      for (const int64_t c : {0, 64, 8, 1}) six.insert(a + b + c);
  const auto codes = LevelSet::of_magnitude(LevelMethod::apot, 6).codes();
  CHECK(std::set<int64_t>(codes.begin(), codes.end()) == six);
  CHECK(codes.back() == 448);
}

TEST_CASE("level set: levels equal the reference's tables in float32") {
  std::ifstream file(test::golden_folder() / "levels.json");
  REQUIRE(file);
  const nlohmann::json tables = nlohmann::json::parse(file);
  int compared = 0;
  for (const SetName& set : kAllSets) {
    const bool apot = set.method == LevelMethod::apot;
    if (!(apot || set.method == LevelMethod::pot)) continue;
    const std::string key = text("B=", set.bits, ",additive=", apot ? "true" : "false");
    if (!tables.contains(key)) continue;
    CAPTURE(key);
    const LevelSet& levels = LevelSet::of_magnitude(set.method, set.bits);
    const auto expected = tables[key].get<std::vector<double>>();
    REQUIRE(expected.size() == levels.codes().size());
    for (size_t i = 0; i < expected.size(); ++i) {
      // Their sums are divided in float32: up to an ulp from the rounded quotient.
      const double level = static_cast<double>(levels.codes()[i]) / static_cast<double>(levels.k());
      CHECK(std::abs(level - expected[i]) <= 0x1p-23 * level);
      if (apot && set.bits <= 4) CHECK(static_cast<float>(level) == static_cast<float>(expected[i]));
    }
    ++compared;
  }
  CHECK(compared == 9);
}

TEST_CASE("level set: 7 and 8 bits follow the general form, every sum distinct") {
  // Terms of three powers with exponents i, i + n, i + 2n; the binary term of B = 7 stands before the third powers.
  const int64_t k7 = (int64_t{1} << 9) + (1 << 8) + (1 << 7) + (1 << 3),
                k8 = (1 << 11) + (1 << 10) + (1 << 9) + (1 << 8);
  for (const auto& [bits, k_before] : {std::pair{7, k7}, std::pair{8, k8}}) {
    CAPTURE(bits);
    const LevelSet& levels = LevelSet::of_magnitude(LevelMethod::apot, bits);
    const std::set<int64_t> distinct(levels.codes().begin(), levels.codes().end());
    CHECK(distinct.size() == size_t{1} << bits);
    CHECK(levels.codes().size() == size_t{1} << bits);
    CHECK(levels.k() == k_before);
    CHECK(distinct.contains(1));  // the smallest power is the unit
  }
}

TEST_CASE("level set: every set ascends from 0 to K, has 2^B levels, and is named by sums of powers") {
  for (const SetName& set : kAllSets) {
    CAPTURE(name_of(set.method));
    CAPTURE(set.bits);
    const LevelSet& levels = LevelSet::of_magnitude(set.method, set.bits);
    CHECK(levels.codes().size() == size_t{1} << set.bits);
    CHECK(levels.codes().front() == 0);
    CHECK(levels.codes().back() == levels.k());
    CHECK(std::ranges::adjacent_find(levels.codes(), std::greater_equal{}) == levels.codes().end());
    CHECK(levels.sum_of_powers(0) == "0");
    CHECK(&LevelSet::of_magnitude(parse_level_method(name_of(set.method)), set.bits) == &levels);
    CHECK(levels.half_step_table().size() == (levels.k() <= 4096 ? static_cast<size_t>(2 * levels.k() + 1) : 0));
  }
  CHECK(LevelSet::of_magnitude(LevelMethod::apot, 3).sum_of_powers(5) == "2^-2 + 2^-3");
  CHECK(LevelSet::of_magnitude(LevelMethod::uniform, 3).k() == 7);
}

TEST_CASE("level set: weights give a bit to the sign, 2-bit weights are ternary, activations are unsigned") {
  CHECK(&LevelSet::for_weights(LevelMethod::apot, 4) == &LevelSet::of_magnitude(LevelMethod::apot, 3));
  CHECK(&LevelSet::for_activations(LevelMethod::apot, 4) == &LevelSet::of_magnitude(LevelMethod::apot, 4));
  CHECK(LevelSet::for_weights(LevelMethod::uniform, 4).k() == 7);       // k / (2^(bits - 1) - 1)
  CHECK(LevelSet::for_activations(LevelMethod::uniform, 4).k() == 15);  // k / (2^bits - 1)
  for (const auto method : {LevelMethod::apot, LevelMethod::pot, LevelMethod::uniform})
    CHECK(LevelSet::for_weights(method, 2).method() == LevelMethod::ternary);
}

TEST_CASE("level set: widths without levels are configuration errors that name the method and the range") {
  const std::vector<SetName> wrong{{LevelMethod::apot, 0},    {LevelMethod::apot, 1},    {LevelMethod::apot, 9},
                                   {LevelMethod::apot, -1},   {LevelMethod::pot, 1},     {LevelMethod::pot, 6},
                                   {LevelMethod::uniform, 0}, {LevelMethod::uniform, 9}, {LevelMethod::ternary, 2}};
  for (const SetName& set : wrong) {
    CAPTURE(name_of(set.method));
    CAPTURE(set.bits);
    try {
      LevelSet::of_magnitude(set.method, set.bits);
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(error.category() == ErrorCategory::configuration);
      CHECK(std::string(error.what()).find(name_of(set.method)) != std::string::npos);
      CHECK(std::string(error.what()).find(" to ") != std::string::npos);
    }
  }
  CHECK_THROWS_AS(LevelSet::for_weights(LevelMethod::apot, 1), Error);
  CHECK_THROWS_AS(parse_level_method("apt"), Error);
}

TEST_CASE("projection: the half-step table is the nearest level for every m") {
  for (const SetName& set : kAllSets) {
    CAPTURE(name_of(set.method));
    CAPTURE(set.bits);
    const LevelSet& levels = LevelSet::of_magnitude(set.method, set.bits);
    if (levels.k() > 4096) continue;
    for (int64_t m = 0; m <= 2 * levels.k(); ++m) {
      // Half step m is [m, m + 1) / 2K: its middle is nearest to one level only, its start may be a tie.
      int64_t best = 0;
      for (const int64_t code : levels.codes())
        if (std::abs(4 * code - (2 * m + 1)) < std::abs(4 * best - (2 * m + 1))) best = code;
      if (m < 2 * levels.k()) REQUIRE(levels.code_of_half_step(m) == best);
      REQUIRE(levels.half_step_table()[static_cast<size_t>(m)] == levels.code_of_half_step(m));
      const double z = static_cast<double>(m) / static_cast<double>(2 * levels.k());
      if (std::fma(z, static_cast<double>(2 * levels.k()), -static_cast<double>(m)) == 0)  // a true tie
        REQUIRE(project(levels, z) == nearest_code(levels, m));
    }
  }
}

// 2 K z, exactly: 24 bits times at most 32 in the 64 of long double.
long double twice_k(const LevelSet& levels, float z) {
  static_assert(std::numeric_limits<long double>::digits >= 56);
  return static_cast<long double>(z) * static_cast<long double>(2 * levels.k());
}

// The floats next to each midpoint of two levels: body(index of the lower level, z, 2 K z - 2 K midpoint).
template <typename Body>
void for_floats_near_midpoints(const LevelSet& levels, const Body& body) {
  for (size_t i = 0; i + 1 < levels.codes().size(); ++i) {
    const double middle = static_cast<double>(levels.codes()[i] + levels.codes()[i + 1]) / 2;
    float z = static_cast<float>(middle / static_cast<double>(levels.k()));
    for (int step = 0; step < 5; ++step) z = std::nextafter(z, 0.0f);
    for (int step = 0; step < 10; ++step, z = std::nextafter(z, 1.0f))
      body(i, z, twice_k(levels, z) - static_cast<long double>(levels.codes()[i] + levels.codes()[i + 1]));
  }
}

TEST_CASE("projection: floats next to a midpoint are compared with it exactly") {
  for (const SetName& set : kAllSets) {
    CAPTURE(name_of(set.method));
    CAPTURE(set.bits);
    const LevelSet& levels = LevelSet::of_magnitude(set.method, set.bits);
    for_floats_near_midpoints(levels, [&](size_t i, float z, long double past) {
      CAPTURE(z);
      const bool upper = levels.ties_to_lower() ? past > 0 : past >= 0;
      REQUIRE(project(levels, z) == levels.codes()[upper ? i + 1 : i]);
    });
  }
}

// Its table has these very floats up to 4 bits, as the test of the tables checks.
TEST_CASE("projection: apot levels are those of least float32 distance but for ties, exact or of these distances") {
  int ties = 0, compared = 0;
  for (int bits = 2; bits <= 5; ++bits) {
    CAPTURE(bits);
    const LevelSet& levels = LevelSet::of_magnitude(LevelMethod::apot, bits);
    for_floats_near_midpoints(levels, [&](size_t i, float z, long double past) {
      CAPTURE(z);
      const auto distance = [&](size_t level) {
        return std::abs(z - static_cast<float>(levels.codes()[level]) / static_cast<float>(levels.k()));
      };
      ++compared;
      if (past == 0 || distance(i) == distance(i + 1)) return void(++ties);
      REQUIRE(project(levels, z) == levels.codes()[distance(i + 1) < distance(i) ? i + 1 : i]);
    });
  }
  CHECK(ties < compared / 10);
}

TEST_CASE("projection: random z take the nearest level, in float and double") {
  Philox random = test::random_numbers(3);
  for (const SetName& set : kAllSets) {
    CAPTURE(name_of(set.method));
    CAPTURE(set.bits);
    const LevelSet& levels = LevelSet::of_magnitude(set.method, set.bits);
    const auto k = static_cast<double>(levels.k());
    std::set<int64_t> seen;
    for (int i = 0; i < 60000; ++i) {
      // Half of the numbers near zero, where the levels of pot are.
      const double z = i % 2 ? random.uniform() : std::exp2(-24.0 * random.uniform());
      double least = 2;
      for (const int64_t code : levels.codes()) least = std::min(least, std::abs(static_cast<double>(code) / k - z));
      const int64_t exact = project(levels, z), rounded = project(levels, static_cast<float>(z));
      seen.insert(exact);
      REQUIRE(std::abs(static_cast<double>(exact) / k - z) <= least + 1e-15);
      REQUIRE(std::abs(static_cast<double>(rounded) / k - z) <= least + 1e-6);
    }
    if (set.method != LevelMethod::pot || set.bits < 5) CHECK(seen.size() == levels.codes().size());
    CHECK(project(levels, 0.0f) == 0);
    CHECK(project(levels, 1.0f) == levels.k());
    CHECK(project(levels, std::nextafter(1.0f, 0.0f)) == levels.k());
  }
}

TEST_CASE("projection: exact ties take the upper level, ternary ties the even one") {
  CHECK(project(LevelSet::of_magnitude(LevelMethod::apot, 2), 0.125f) == 1);  // between 0 and 1/4
  CHECK(project(LevelSet::of_magnitude(LevelMethod::apot, 2), 0.75f) == 4);   // between 1/2 and 1
  CHECK(project(LevelSet::of_magnitude(LevelMethod::uniform, 1), 0.5f) == 1);
  const LevelSet& ternary = LevelSet::of_magnitude(LevelMethod::ternary, 1);
  CHECK(project(ternary, 0.5f) == 0);
  CHECK(project(ternary, std::nextafter(0.5f, 1.0f)) == 1);
  CHECK(project(ternary, 1.0f) == 1);
}

TEST_CASE("quantized: codes are 8-bit where the set fits, else floats of the data's type") {
  struct Expected {
    LevelMethod method;
    int bits;
    bool has_sign;
    DType dtype;
  };
  const DType f = DType::f32;
  for (const Expected& e : std::vector<Expected>{{LevelMethod::apot, 5, true, DType::s8},
                                                 {LevelMethod::apot, 5, false, DType::u8},
                                                 {LevelMethod::apot, 6, true, f},
                                                 {LevelMethod::apot, 6, false, f},
                                                 {LevelMethod::pot, 3, true, DType::s8},
                                                 {LevelMethod::pot, 4, false, f},
                                                 {LevelMethod::pot, 5, true, f},
                                                 {LevelMethod::uniform, 7, true, DType::s8},
                                                 {LevelMethod::uniform, 8, true, f},
                                                 {LevelMethod::uniform, 8, false, DType::u8},
                                                 {LevelMethod::ternary, 1, true, DType::s8}}) {
    CAPTURE(name_of(e.method));
    CAPTURE(e.bits);
    const LevelSet& levels = LevelSet::of_magnitude(e.method, e.bits);
    const Quantized q = Quantized::like(Tensor({2, 3}, DType::f32), levels, e.has_sign);
    CHECK(q.codes.dtype() == e.dtype);
    CHECK(q.exact() == (e.dtype != f));
    CHECK(q.step.shape() == Shape{});
    CHECK(q.step.dtype() == f);
    CHECK(Quantized::like(Tensor({2}, DType::f64), levels, e.has_sign).step.dtype() == DType::f64);
  }
}
