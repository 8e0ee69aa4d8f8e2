#include "tools/config/json_document.h"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/base/error.h"
#include "tools/json_text.h"

namespace apotnet {
namespace {

using Kind = JsonNode::Kind;

constexpr size_t kDeepest = 64;

// Walks over the text for nlohmann's parser and tells how far it has come.
class CountingIterator {
 public:
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** furthest) : at_(at), furthest_(furthest) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *furthest_ = ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator former = *this;
    ++*this;
    return former;
  }
  bool operator==(const CountingIterator& other) const { return at_ == other.at_; }
  bool operator!=(const CountingIterator& other) const { return at_ != other.at_; }

 private:
  const char* at_;
  const char** furthest_;
};

// Builds the tree from the parser's events. An event comes right behind its token, so the token begins at the first
// character behind the former event that is no separator.
class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Builder(std::string_view text, const std::string& name, const char** furthest)
      : text_(text), name_(name), furthest_(furthest), former_end_(text.data()) {}

  JsonNode take() { return std::move(root_); }
  // To the parser it would be the end, whatever follows.
  void refuse_zero_byte(size_t at) { fail_at(place(at), "a zero byte"); }

  bool null() override { return add({}); }
  bool boolean(bool value) override {
    JsonNode node;
    node.kind = Kind::boolean;
    node.boolean = value;
    return add(std::move(node));
  }
  bool number_integer(number_integer_t value) override { return add_integer(value); }
  bool number_unsigned(number_unsigned_t value) override {
    if (std::in_range<int64_t>(value)) return add_integer(static_cast<int64_t>(value));
    return number_float(static_cast<double>(value), std::to_string(value));
  }
  bool number_float(number_float_t value, const string_t& written) override {
    JsonNode node;
    node.kind = Kind::real;
    node.real = value;
    node.written = written;
    return add(std::move(node));
  }
  bool string(string_t& value) override {
    JsonNode node;
    node.kind = Kind::string;
    node.string = value;
    return add(std::move(node));
  }
  bool binary(binary_t&) override { return false; }
  bool start_object(std::size_t) override { return open(Kind::object); }
  bool start_array(std::size_t) override { return open(Kind::array); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool key(string_t& value) override {
    const std::string where = begin_of_token();
    JsonNode& object = *open_.back();
    if (std::ranges::count(object.keys, value) > 0)
      fail_at(where, "\"", value, "\" stands twice in this object; keep one");
    object.keys.push_back(value);
    object.key_origins.push_back(where);
    return true;
  }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    // Of "[json.exception...] parse error at line 1, column 2: syntax error ..." only the end says something new.
    std::string what = error.what();
    if (const size_t cut = what.find(": "); cut != std::string::npos) what = what.substr(cut + 2);
    std::ranges::replace(what, '\n', ' ');
    const size_t at = std::min(position == 0 ? 0 : position - 1, text_.size());
    fail_at(place(at), what, hint(at));
  }

 private:
  // What people put there who are used to other notations.
  const char* hint(size_t at) const {
    constexpr const char* kSpace = " \t\r\n";
    if (text_.find_first_not_of(kSpace) == text_.npos) return "; the file is empty: write an object {...}";
    if (at >= text_.size()) return "; a bracket or a quote before it is not closed";
    const char c = text_[at];
    const size_t before = at == 0 ? text_.npos : text_.find_last_not_of(kSpace, at - 1);
    if ((c == '}' || c == ']') && before != text_.npos && text_[before] == ',')
      return "; trailing commas are not allowed: take out the one before it";
    if (c == '/' || c == '#') return "; comments are not allowed";
    if (c == '\'') return "; strings and keys take double quotes";
    if (c == '.' || c == '+') return "; a number begins with a digit or a minus, as in 0.1";
    if (std::isalpha(static_cast<unsigned char>(c)))
      return "; words take double quotes, except for true, false and null in small letters";
    return "";
  }
  template <typename... Parts>
  [[noreturn]] void fail_at(const std::string& where, const Parts&... parts) {
    fail(ErrorCategory::configuration, where, ": error: ", parts...);
  }
  std::string place(size_t offset) const {
    const std::string_view before = text_.substr(0, offset);
    const size_t line = 1 + static_cast<size_t>(std::ranges::count(before, '\n'));
    return apotnet::text(name_, ":", line, ":", offset - (before.rfind('\n') + 1) + 1);  // npos + 1 is 0
  }
  std::string begin_of_token() {
    const auto from = static_cast<size_t>(former_end_ - text_.data());
    const size_t begin = std::min(text_.find_first_not_of(" \t\r\n,:", from), text_.size());
    former_end_ = *furthest_;
    return place(begin);
  }
  bool add_integer(int64_t value) {
    JsonNode node;
    node.kind = Kind::integer;
    node.integer = value;
    node.real = static_cast<double>(value);
    return add(std::move(node));
  }
  bool add(JsonNode node) {
    node.origin = begin_of_token();
    if (open_.empty())
      root_ = std::move(node);
    else
      open_.back()->items.push_back(std::move(node));
    return true;
  }
  bool open(Kind kind) {
    JsonNode node;
    node.kind = kind;
    add(std::move(node));
    // Pointers to open nodes stay valid: a list grows only while it is the innermost open one.
    open_.push_back(open_.empty() ? &root_ : &open_.back()->items.back());
    if (open_.size() > kDeepest) fail_at(open_.back()->origin, "nested more than ", kDeepest, " deep");
    return true;
  }
  bool close() {
    former_end_ = *furthest_;
    open_.pop_back();
    return true;
  }

  std::string_view text_;
  const std::string& name_;
  const char** furthest_;
  const char* former_end_;
  JsonNode root_;
  std::vector<JsonNode*> open_;
};

nlohmann::ordered_json to_json(const JsonNode& node) {
  switch (node.kind) {
    case Kind::null:
      return nullptr;
    case Kind::boolean:
      return node.boolean;
    case Kind::integer:
      return node.integer;
    case Kind::real:
      return node.real;
    case Kind::string:
      return node.string;
    case Kind::array: {
      auto list = nlohmann::ordered_json::array();
      for (const JsonNode& item : node.items) list.push_back(to_json(item));
      return list;
    }
    case Kind::object:
      break;
  }
  auto object = nlohmann::ordered_json::object();
  for (size_t i = 0; i < node.items.size(); ++i) object[node.keys[i]] = to_json(node.items[i]);
  return object;
}

}  // namespace

const JsonNode* JsonNode::find(std::string_view key) const {
  for (size_t i = 0; i < items.size() && i < keys.size(); ++i)
    if (keys[i] == key) return &items[i];
  return nullptr;
}

JsonNode* JsonNode::find(std::string_view key) {
  return const_cast<JsonNode*>(static_cast<const JsonNode*>(this)->find(key));
}

void JsonNode::set(const std::string& key, JsonNode value, const std::string& key_origin) {
  kind = Kind::object;
  if (JsonNode* present = find(key)) {
    *present = std::move(value);
    return;
  }
  keys.push_back(key);
  key_origins.push_back(key_origin);
  items.push_back(std::move(value));
}

void JsonNode::erase(std::string_view key) {
  const auto found = std::ranges::find(keys, key);
  if (found == keys.end()) return;
  const auto index = found - keys.begin();
  keys.erase(found);
  key_origins.erase(key_origins.begin() + index);
  items.erase(items.begin() + index);
}

std::string JsonNode::describe() const {
  switch (kind) {
    case Kind::array:
      return "a list";
    case Kind::object:
      return "an object";
    case Kind::string:
      return "string " + dump();
    case Kind::integer:
    case Kind::real:
      return "number " + (written.empty() ? dump() : written);
    default:
      return dump();
  }
}

std::string JsonNode::dump() const { return json_text(to_json(*this)); }

JsonNode parse_json(std::string_view text, const std::string& name) {
  const char* furthest = text.data();
  Builder builder(text, name, &furthest);
  if (const size_t zero = text.find('\0'); zero != text.npos) builder.refuse_zero_byte(zero);
  const CountingIterator begin(text.data(), &furthest), end(text.data() + text.size(), &furthest);
  nlohmann::json::sax_parse(begin, end, &builder);
  return builder.take();
}

}  // namespace apotnet
