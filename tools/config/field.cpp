#include <algorithm>
#include <cctype>
#include <cmath>

#include "core/base/error.h"
#include "tools/config/schema.h"

namespace apotnet {
namespace {

using Kind = JsonNode::Kind;

std::string join(std::span<const std::string> words) {
  std::string result;
  for (const std::string& word : words) result += (result.empty() ? "" : ", ") + word;
  return result;
}

bool is_bits(const Field& field) { return field.path.ends_with("bits"); }

// A number the way JSON writes it, 65536 rather than 65536.0.
std::string number(double value) {
  const bool is_integer = std::abs(value) < 0x1p63 && value == std::trunc(value);
  return is_integer ? text(static_cast<int64_t>(value)) : text(value);
}

// The bound of a range; those of integers are whole or infinite.
template <typename Number>
Number bound(double value) {
  if constexpr (std::is_same_v<Number, int64_t>) {
    if (value >= 0x1p63) return std::numeric_limits<int64_t>::max();
    if (value < -0x1p63) return std::numeric_limits<int64_t>::min();
  }
  return static_cast<Number>(value);
}

bool is_name(const std::string& value) {
  return !value.empty() && value.size() <= 64 &&
         std::ranges::all_of(value, [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_'; });
}

// Reads the items of a list when all of them fit.
template <typename Item, typename Read>
bool assign_list(const JsonNode& value, std::vector<Item>& target, Read&& read) {
  if (!value.is(Kind::array)) return false;
  std::vector<Item> items;
  for (const JsonNode& item : value.items)
    if (!read(item, items)) return false;
  target = std::move(items);
  return true;
}

}  // namespace

std::string Field::expectation() const {
  RunConfig run;
  StageConfig stage;
  const FieldTarget where = target(run, stage);
  if (is_bits(*this)) return "an integer from 2 to 8, or 32";
  if (leaf() == "name" && in_stage()) return "a name of 1 to 64 letters, digits, - and _";
  const std::string range = text(low_open ? "(" : "[", number(low), ", ", number(high), high_open ? ")" : "]");
  if (std::holds_alternative<bool*>(where)) return "true or false";
  if (std::holds_alternative<int64_t*>(where)) return text("an integer from ", number(low), " to ", number(high));
  if (std::holds_alternative<double*>(where)) return "a number in " + range;
  if (std::holds_alternative<std::vector<int64_t>*>(where)) return "a list of increasing integers from " + number(low);
  const std::string words = choices.empty() ? "a string" : "one of " + join(choices);
  return std::holds_alternative<std::vector<std::string>*>(where) ? "a list of different words, each " + words : words;
}

bool Field::assign(const JsonNode& value, FieldTarget where) const {
  const auto in_range = [&](auto x) {  // an integer as an integer: a double does not hold all of them
    const auto smallest = bound<decltype(x)>(low), largest = bound<decltype(x)>(high);
    const bool bits = !is_bits(*this) || x <= 8 || x == 32;
    return (low_open ? x > smallest : x >= smallest) && (high_open ? x < largest : x <= largest) && bits;
  };
  const auto known = [&](const std::string& word) { return choices.empty() || std::ranges::count(choices, word) > 0; };
  if (auto* flag = std::get_if<bool*>(&where)) {
    if (!value.is(Kind::boolean)) return false;
    **flag = value.boolean;
  } else if (auto* integer = std::get_if<int64_t*>(&where)) {
    if (!value.is(Kind::integer) || !in_range(value.integer)) return false;
    **integer = value.integer;
  } else if (auto* real = std::get_if<double*>(&where)) {
    if ((!value.is(Kind::integer) && !value.is(Kind::real)) || !in_range(value.real)) return false;
    **real = value.real;
  } else if (auto* string = std::get_if<std::string*>(&where)) {
    const bool names_stage = in_stage() && leaf() == "name";
    if (!value.is(Kind::string) || !known(value.string) || (names_stage && !is_name(value.string))) return false;
    **string = value.string;
  } else if (auto* words = std::get_if<std::vector<std::string>*>(&where)) {
    return assign_list(value, **words, [&](const JsonNode& item, std::vector<std::string>& items) {
      if (!item.is(Kind::string) || !known(item.string) || std::ranges::count(items, item.string)) return false;
      items.push_back(item.string);
      return true;
    });
  } else if (auto* integers = std::get_if<std::vector<int64_t>*>(&where)) {
    return assign_list(value, **integers, [&](const JsonNode& item, std::vector<int64_t>& items) {
      if (!item.is(Kind::integer) || !in_range(item.integer) || (!items.empty() && item.integer <= items.back()))
        return false;
      items.push_back(item.integer);
      return true;
    });
  }
  return true;
}

JsonNode value_at(const FieldTarget& target) {
  const auto scalar = [](const auto& value) {
    using Value = std::decay_t<decltype(value)>;
    JsonNode node;
    if constexpr (std::is_same_v<Value, bool>) {
      node.kind = Kind::boolean;
      node.boolean = value;
    } else if constexpr (std::is_same_v<Value, int64_t>) {
      node.kind = Kind::integer;
      node.integer = value;
      node.real = static_cast<double>(value);
    } else if constexpr (std::is_same_v<Value, double>) {
      node.kind = Kind::real;
      node.real = value;
    } else {
      node.kind = Kind::string;
      node.string = value;
    }
    return node;
  };
  return std::visit(
      [&](const auto* value) {
        using Value = std::decay_t<decltype(*value)>;
        if constexpr (std::is_same_v<Value, std::vector<std::string>> || std::is_same_v<Value, std::vector<int64_t>>) {
          JsonNode list;
          list.kind = Kind::array;
          for (const auto& item : *value) list.items.push_back(scalar(item));
          return list;
        } else {
          return scalar(*value);
        }
      },
      target);
}

}  // namespace apotnet
