#include "core/io/pickle.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <cstring>
#include <map>

#include "core/base/error.h"
#include "core/io/pickle_classes.h"
#include "core/io/printable.h"

namespace apotnet {
namespace {

using Kind = PickleValue::Kind;

constexpr int kDeepest = 64;
constexpr size_t kMostValues = 4'000'000;

// The stack machine of one pickle.
class Interpreter {
 public:
  Interpreter(std::span<const std::byte> bytes, PickleValues& values, std::span<const std::byte> whole,
              const std::string& path)
      : bytes_(bytes),
        values_(values),
        path_(path),
        start_(static_cast<size_t>(bytes.data() - whole.data())),
        largest_container_(std::max<size_t>(1000, whole.size() / sizeof(PickleValue*))),
        items_left_(whole.size()) {}

  const PickleValue& run() {
    for (;;) {
      opcode_at_ = position_;
      const auto opcode = static_cast<uint8_t>(take(1)[0]);
      if (opcode == '.') break;
      if (!constant(opcode) && !container(opcode) && !memory(opcode) && !object(opcode)) unknown_opcode(opcode);
    }
    if (stack_.size() != 1 || !marks_.empty())
      damaged("the pickle ends with ", stack_.size(), " values and ", marks_.size(), " marks instead of one value");
    return *stack_.back();
  }
  size_t position() const { return position_; }

 private:
  template <typename... Parts>
  [[noreturn]] void damaged(const Parts&... parts) const {
    fail(ErrorCategory::damaged_data, path_, ": ", parts..., " (at byte ", start_ + opcode_at_, ")");
  }
  [[noreturn]] void unknown_opcode(uint8_t opcode) const {
    char digits[5];
    std::snprintf(digits, sizeof digits, "0x%02x", static_cast<unsigned>(opcode));
    damaged("unknown pickle opcode ", digits);
  }

  std::span<const std::byte> take(size_t count) {
    if (count > bytes_.size() - position_) damaged("the pickle is cut off");
    const auto part = bytes_.subspan(position_, count);
    position_ += count;
    return part;
  }
  template <typename Integer>
  Integer take_number() {
    Integer number;
    std::memcpy(&number, take(sizeof number).data(), sizeof number);
    return number;
  }
  std::string take_string(size_t count) {
    const auto part = take(count);
    return {reinterpret_cast<const char*>(part.data()), part.size()};
  }
  std::string take_line() {
    std::string line;
    for (char c; (c = static_cast<char>(take(1)[0])) != '\n';) {
      if (line.size() >= 200) damaged("a name of over 200 characters");
      line += c;
    }
    return line;
  }

  PickleValue& push(Kind kind) {
    if (values_.size() >= kMostValues) damaged("more than ", kMostValues, " values; this is no checkpoint");
    PickleValue& value = values_.emplace_back();
    value.kind = kind;
    push(value);
    return value;
  }
  void push(PickleValue& value) {
    if (stack_.size() >= largest_container_) damaged("the pickle's stack is too high; this is no checkpoint");
    stack_.push_back(&value);
  }
  size_t bottom() const { return marks_.empty() ? 0 : marks_.back(); }
  PickleValue& pop() {
    if (stack_.size() <= bottom()) damaged("the pickle takes a value from an empty stack");
    PickleValue& value = *stack_.back();
    stack_.pop_back();
    return value;
  }
  PickleValue& top(Kind kind, const char* what) {
    if (stack_.size() <= bottom() || stack_.back()->kind != kind) damaged("expected ", what, " on the pickle's stack");
    return *stack_.back();
  }
  std::vector<PickleValue*> pop_to_mark() {
    if (marks_.empty()) damaged("a pickle mark is missing");
    const auto first = stack_.begin() + static_cast<std::ptrdiff_t>(marks_.back());
    std::vector<PickleValue*> items(first, stack_.end());
    stack_.erase(first, stack_.end());
    marks_.pop_back();
    return items;
  }
  void append(PickleValue& container, std::span<PickleValue* const> items) {
    // Honest items take a byte of the file each; copies of copies would not.
    if (container.items.size() + items.size() > largest_container_ || items.size() > items_left_)
      damaged("a container of too many values");
    items_left_ -= items.size();
    for (const PickleValue* item : items) container.depth = std::max(container.depth, item->depth + 1);
    if (container.depth > kDeepest) damaged("values nested more than ", kDeepest, " deep");
    container.items.insert(container.items.end(), items.begin(), items.end());
  }

  bool constant(uint8_t opcode) {
    const auto integer = [&](int64_t number) { push(Kind::integer).integer = number; };
    switch (opcode) {
      case 0x80:  // PROTO
        if (const auto version = take_number<uint8_t>(); version < 2 || version > 5)
          damaged("pickle protocol ", static_cast<int>(version), "; 2 to 5 are known");
        return true;
      case 0x95:
        take_number<uint64_t>();
        return true;  // FRAME: only a hint
      case 'N':
        push(Kind::none);
        return true;
      case 0x88:
      case 0x89:
        push(Kind::boolean).integer = opcode == 0x88;
        return true;
      case 'J':
        integer(take_number<int32_t>());
        return true;
      case 'K':
        integer(take_number<uint8_t>());
        return true;
      case 'M':
        integer(take_number<uint16_t>());
        return true;
      case 0x8a:
        long_integer();
        return true;
      case 'G': {
        const auto big_endian = take_number<uint64_t>();
        push(Kind::real).real = std::bit_cast<double>(__builtin_bswap64(big_endian));
        return true;
      }
      case 'X':
        string(take_number<uint32_t>());
        return true;
      case 0x8c:
      case 'U':
        string(take_number<uint8_t>());
        return true;
      case 'T':
        string(take_number<uint32_t>());
        return true;
      default:
        return false;
    }
  }
  void string(size_t count) {
    std::string content = take_string(count);
    if (!is_utf8(content)) damaged("the text ", printable(content), " is not UTF-8");
    push(Kind::string).string = std::move(content);
  }
  void long_integer() {
    std::string digits = take_string(take_number<uint8_t>());
    if (digits.size() > sizeof(int64_t)) {
      push(Kind::big_integer).string = std::move(digits);
      return;
    }
    int64_t number = !digits.empty() && (digits.back() & 0x80) ? -1 : 0;  // the sign goes on
    std::memcpy(&number, digits.data(), digits.size());
    push(Kind::integer).integer = number;
  }

  bool container(uint8_t opcode) {
    switch (opcode) {
      case '}':
        push(Kind::dict);
        return true;
      case ']':
        push(Kind::list);
        return true;
      case ')':
        push(Kind::tuple);
        return true;
      case '(':
        marks_.push_back(stack_.size());
        if (marks_.size() > size_t{kDeepest}) damaged("marks nested more than ", kDeepest, " deep");
        return true;
      case 't': {
        const auto items = pop_to_mark();
        append(push(Kind::tuple), items);
        return true;
      }
      case 0x85:
      case 0x86:
      case 0x87: {
        std::vector<PickleValue*> items(opcode - 0x84u);
        for (size_t i = items.size(); i-- > 0;) items[i] = &pop();
        append(push(Kind::tuple), items);
        return true;
      }
      case 'a': {
        PickleValue* item = &pop();
        append(top(Kind::list, "a list"), {&item, 1});
        return true;
      }
      case 'e': {
        const auto items = pop_to_mark();
        append(top(Kind::list, "a list"), items);
        return true;
      }
      case 's': {
        std::array<PickleValue*, 2> pair{};
        pair[1] = &pop();
        pair[0] = &pop();
        append(top(Kind::dict, "a dict"), pair);
        return true;
      }
      case 'u': {
        const auto items = pop_to_mark();
        if (items.size() % 2 != 0) damaged("a dict entry without a value");
        append(top(Kind::dict, "a dict"), items);
        return true;
      }
      default:
        return false;
    }
  }

  bool memory(uint8_t opcode) {
    const auto put = [&](uint32_t key) {
      if (stack_.size() <= bottom()) damaged("the pickle memorises nothing");
      memo_[key] = stack_.back();
    };
    const auto get = [&](uint32_t key) {
      const auto found = memo_.find(key);
      if (found == memo_.end()) damaged("the pickle recalls entry ", key, ", which it never memorised");
      push(*found->second);
    };
    switch (opcode) {
      case 'q':
        put(take_number<uint8_t>());
        return true;
      case 'r':
        put(take_number<uint32_t>());
        return true;
      case 0x94:
        put(static_cast<uint32_t>(memo_.size()));
        return true;
      case 'h':
        get(take_number<uint8_t>());
        return true;
      case 'j':
        get(take_number<uint32_t>());
        return true;
      default:
        return false;
    }
  }

  bool object(uint8_t opcode) {
    switch (opcode) {
      case 'c': {
        const std::string module = take_line(), name = take_line(), global = module + " " + name;
        if (!is_known_class(global))
          damaged("refuses to load ", printable(module + "." + name),
                  ": only tensors in dicts are read, nothing is run");
        push(Kind::global).string = global;
        return true;
      }
      case 'R':
        reduce();
        return true;
      case 'Q':
        persistent_id();
        return true;
      case 'b':  // attributes of an OrderedDict (_metadata) say nothing that is needed
        pop();
        if (!top(Kind::dict, "an OrderedDict").ordered) damaged("attributes for something other than an OrderedDict");
        return true;
      default:
        return false;
    }
  }

  void reduce() {
    const PickleValue& arguments = pop();
    const PickleValue& callee = pop();
    if (callee.kind != Kind::global || arguments.kind != Kind::tuple)
      damaged("a call of something that is no known class");
    if (callee.string == kOrderedDict) {
      make_ordered_dict(arguments);
    } else if (callee.string == kRebuildTensor) {
      rebuild_tensor(arguments);
    } else if (callee.string == kRebuildParameter) {
      if (arguments.items.empty() || arguments.items[0]->kind != Kind::tensor) damaged("a parameter without a tensor");
      push(*arguments.items[0]);
    } else {
      damaged("a call of ", callee.string, ", which is no function");
    }
  }

  // OrderedDict() or, from Python 2, OrderedDict([[key, value], ...]).
  void make_ordered_dict(const PickleValue& arguments) {
    PickleValue& dict = push(Kind::dict);
    dict.ordered = true;
    if (arguments.items.empty()) return;
    const PickleValue& pairs = *arguments.items[0];
    const auto is_sequence = [](const PickleValue& value) {
      return value.kind == Kind::list || value.kind == Kind::tuple;
    };
    if (arguments.items.size() != 1 || !is_sequence(pairs)) damaged("an OrderedDict of something other than pairs");
    for (const PickleValue* pair : pairs.items) {
      if (!is_sequence(*pair) || pair->items.size() != 2) damaged("an OrderedDict of something other than pairs");
      append(dict, pair->items);
    }
  }

  // _rebuild_tensor_v2(storage, offset, sizes, strides, requires_grad, backward_hooks[, metadata])
  void rebuild_tensor(const PickleValue& arguments) {
    const auto& a = arguments.items;
    const bool fits = a.size() >= 4 && a[0]->kind == Kind::storage && a[1]->kind == Kind::integer &&
                      a[2]->kind == Kind::tuple && a[3]->kind == Kind::tuple;
    if (!fits) damaged("a tensor without storage, offset, sizes and strides");
    if (a[2]->items.size() != a[3]->items.size()) damaged("a tensor with more sizes than strides or fewer");
    for (const PickleValue* numbers : {a[2], a[3]})
      for (const PickleValue* number : numbers->items)
        if (number->kind != Kind::integer) damaged("a tensor with a size or stride that is no 64-bit integer");
    PickleValue& tensor = push(Kind::tensor);
    tensor.integer = a[1]->integer;
    tensor.items = {a[0], a[2], a[3]};
  }

  // ('storage', type, key, location, elements[, view]) stands for the raw storage of that key.
  void persistent_id() {
    const PickleValue& id = pop();
    const auto& a = id.items;
    const bool fits = id.kind == Kind::tuple && a.size() >= 5 && a[0]->kind == Kind::string &&
                      a[0]->string == "storage" && a[1]->kind == Kind::global && a[2]->kind == Kind::string &&
                      a[4]->kind == Kind::integer;
    const StorageType* type = fits ? find_storage_type(a[1]->string) : nullptr;
    if (!type) damaged("a reference to something other than a tensor's storage");
    if (a[4]->integer < 0) damaged("a storage of ", a[4]->integer, " elements");
    if (a.size() > 5 && a[5]->kind != Kind::none)
      damaged("a storage that is a view of another; save it with a newer PyTorch");
    PickleValue& storage = push(Kind::storage);
    storage.string = a[2]->string;
    storage.integer = a[4]->integer;
    storage.dtype = type->dtype;
    storage.encoding = type->encoding;
  }

  std::span<const std::byte> bytes_;
  PickleValues& values_;
  const std::string& path_;
  size_t start_;  // of the pickle in the file
  size_t largest_container_, items_left_;
  size_t position_ = 0, opcode_at_ = 0;
  std::vector<PickleValue*> stack_;
  std::vector<size_t> marks_;
  std::map<uint32_t, PickleValue*> memo_;
};

}  // namespace

const PickleValue& read_pickle(std::span<const std::byte>& bytes, PickleValues& values,
                               std::span<const std::byte> whole, const std::string& path) {
  Interpreter interpreter(bytes, values, whole, path);
  const PickleValue& result = interpreter.run();
  bytes = bytes.subspan(interpreter.position());
  return result;
}

}  // namespace apotnet
