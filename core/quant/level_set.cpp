#include "core/quant/level_set.h"

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <numeric>

#include "core/base/error.h"

namespace apotnet {
namespace {

// A term is the set of exponents j it may contribute as 2^-j; it may also contribute nothing.
using Terms = std::vector<std::vector<int>>;

// Paper eq. 5 with k = 2: n terms of three powers each. An odd B has one more term of a single power, and the numbering
// of the exponents goes through it between the second and third power of the others, as the authors' tables do.
Terms apot_terms(int magnitude_bits) {
  const int two_bit_terms = magnitude_bits / 2;
  const bool odd = magnitude_bits % 2 != 0;
  Terms terms(static_cast<size_t>(two_bit_terms));
  int exponent = 1;
  for (int power = 0; power < 3; ++power) {
    // The lone two-bit set of B = 2 is {2^-1, 2^-2, 2^-3}; for odd B the binary term takes the exponent before the
    // third.
    if (power == 2 && odd) terms.push_back({exponent++});
    for (int term = 0; term < two_bit_terms; ++term) terms[static_cast<size_t>(term)].push_back(exponent++);
  }
  return terms;
}

struct Level {
  int64_t code;
  std::string sum;
};

std::vector<Level> sums_of_powers(const Terms& terms) {
  int largest = 0;
  for (const auto& term : terms) largest = std::max(largest, *std::ranges::max_element(term));
  std::vector<Level> levels{{0, ""}};
  for (const auto& term : terms) {
    const std::vector<Level> shorter = levels;
    for (const int exponent : term)
      for (const Level& level : shorter) {
        const std::string power = text("2^-", exponent);
        levels.push_back(
            {level.code + (int64_t{1} << (largest - exponent)), level.sum.empty() ? power : level.sum + " + " + power});
      }
  }
  return levels;
}

std::vector<Level> make_levels(LevelMethod method, int bits) {
  std::vector<Level> levels;
  switch (method) {
    case LevelMethod::apot:
      return sums_of_powers(apot_terms(bits));
    case LevelMethod::pot: {
      Terms one_term(1);
      for (int j = 0; j <= (1 << bits) - 2; ++j) one_term[0].push_back(j);
      return sums_of_powers(one_term);
    }
    case LevelMethod::uniform:
    case LevelMethod::ternary:
      for (int64_t code = 0; code < (int64_t{1} << bits); ++code)
        levels.push_back({code, text(code, "/", (int64_t{1} << bits) - 1)});
      return levels;
  }
  fail(ErrorCategory::internal, "unknown level method");
}

}  // namespace

std::string_view name_of(LevelMethod method) {
  switch (method) {
    case LevelMethod::apot:
      return "apot";
    case LevelMethod::pot:
      return "pot";
    case LevelMethod::uniform:
      return "uniform";
    case LevelMethod::ternary:
      return "ternary";
  }
  return "?";
}

LevelMethod parse_level_method(std::string_view name) {
  for (const LevelMethod method : {LevelMethod::apot, LevelMethod::pot, LevelMethod::uniform, LevelMethod::ternary})
    if (name == name_of(method)) return method;
  fail(ErrorCategory::configuration, "unknown quantization method \"", name, "\"; use apot, pot or uniform");
}

LevelSet::LevelSet(LevelMethod method, int magnitude_bits) : method_(method), magnitude_bits_(magnitude_bits) {
  std::vector<Level> levels = make_levels(method, magnitude_bits);
  std::ranges::sort(levels, {}, &Level::code);
  int64_t divisor = 0;
  for (const Level& level : levels) divisor = std::gcd(divisor, level.code);
  for (const Level& level : levels) {
    codes_.push_back(level.code / divisor);
    sums_.push_back(level.code == 0 ? "0" : level.sum);
  }
  if (k() <= 4096)
    for (int64_t m = 0; m <= 2 * k(); ++m) table_.push_back(static_cast<int16_t>(code_of_half_step(m)));
}

int64_t LevelSet::code_of_half_step(int64_t m) const {
  // The upper of two neighbours is nearest from their midpoint (a + b) / 2K on, that is from m = a + b.
  size_t below = 0, above = codes_.size() - 1;
  while (below < above) {
    const size_t middle = (below + above + 1) / 2;
    if (m >= codes_[middle - 1] + codes_[middle])
      below = middle;
    else
      above = middle - 1;
  }
  return codes_[below];
}

const LevelSet& LevelSet::of_magnitude(LevelMethod method, int magnitude_bits) {
  const auto [least, most] = [&]() -> std::pair<int, int> {
    switch (method) {
      case LevelMethod::apot:
        return {2, 8};
      case LevelMethod::pot:
        return {2, 5};  // the smallest level of 6 bits would be 2^-62
      case LevelMethod::uniform:
        return {1, 8};
      case LevelMethod::ternary:
        break;
    }
    return {1, 1};
  }();
  if (magnitude_bits < least || magnitude_bits > most)
    fail(ErrorCategory::configuration, "no ", name_of(method), " levels of ", magnitude_bits,
         " magnitude bits: ", least, " to ", most, " are defined (weights use one bit of theirs for the sign)");
  static std::mutex mutex;
  static std::map<std::pair<LevelMethod, int>, std::unique_ptr<const LevelSet>> sets;
  std::lock_guard lock(mutex);
  auto& set = sets[{method, magnitude_bits}];
  if (!set) set.reset(new LevelSet(method, magnitude_bits));
  return *set;
}

const LevelSet& LevelSet::for_weights(LevelMethod method, int bits) {
  return bits == 2 ? of_magnitude(LevelMethod::ternary, 1) : of_magnitude(method, bits - 1);
}

const LevelSet& LevelSet::for_activations(LevelMethod method, int bits) { return of_magnitude(method, bits); }

}  // namespace apotnet
