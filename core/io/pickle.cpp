#include "core/io/pickle.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <unordered_map>

#include "core/base/error.h"

namespace apotnet {
namespace {

using Kind = PickleValue::Kind;
using Encoding = PickleValue::Encoding;

struct StorageType {
  const char* name;
  DType dtype;
  Encoding encoding;
};
constexpr std::array kStorageTypes{StorageType{"torch DoubleStorage", DType::f64, Encoding::plain},
                                   StorageType{"torch FloatStorage", DType::f32, Encoding::plain},
                                   StorageType{"torch HalfStorage", DType::f32, Encoding::half},
                                   StorageType{"torch BFloat16Storage", DType::f32, Encoding::bfloat16},
                                   StorageType{"torch LongStorage", DType::i64, Encoding::plain},
                                   StorageType{"torch IntStorage", DType::s32, Encoding::plain},
                                   StorageType{"torch ShortStorage", DType::s16, Encoding::plain},
                                   StorageType{"torch CharStorage", DType::s8, Encoding::plain},
                                   StorageType{"torch ByteStorage", DType::u8, Encoding::plain},
                                   StorageType{"torch BoolStorage", DType::u8, Encoding::boolean}};
constexpr const char* kOrderedDict = "collections OrderedDict";
constexpr const char* kRebuildTensor = "torch._utils _rebuild_tensor_v2";
constexpr const char* kRebuildParameter = "torch._utils _rebuild_parameter";

const StorageType* storage_type(const std::string& global) {
  const auto found = std::ranges::find_if(kStorageTypes, [&](const StorageType& type) { return global == type.name; });
  return found == kStorageTypes.end() ? nullptr : &*found;
}

// The stack machine of one pickle.
class Interpreter {
 public:
  Interpreter(std::span<const std::byte> bytes, PickleValues& values, size_t file_bytes, const std::string& path)
      : bytes_(bytes),
        values_(values),
        path_(path),
        largest_container_(std::max<size_t>(1000, file_bytes / 8)),
        most_values_(std::clamp<size_t>(file_bytes, 100'000, 4'000'000)) {}

  const PickleValue& run() {
    for (;;) {
      opcode_at_ = position_;
      const auto opcode = static_cast<uint8_t>(take(1)[0]);
      if (opcode == '.') break;
      if (!constant(opcode) && !container(opcode) && !memory(opcode) && !object(opcode))
        damaged("unknown pickle opcode ", static_cast<int>(opcode));
    }
    if (stack_.size() != 1 || !marks_.empty())
      damaged("the pickle ends with ", stack_.size(), " values instead of one");
    return *stack_.back();
  }
  size_t position() const { return position_; }

 private:
  template <typename... Parts>
  [[noreturn]] void damaged(const Parts&... parts) const {
    fail(ErrorCategory::damaged_data, path_, ": ", parts..., " (pickle byte ", opcode_at_, ")");
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
    if (values_.size() >= most_values_) damaged("more than ", most_values_, " values; this is no checkpoint");
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
    if (container.items.size() + items.size() > largest_container_) damaged("a container of too many values");
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
    push(Kind::string).string = std::move(content);
  }
  void long_integer() {
    std::string digits = take_string(take_number<uint8_t>());
    PickleValue& value = push(Kind::integer);
    if (digits.size() > 8) {
      value.string = std::move(digits);
      return;
    }
    uint64_t number = !digits.empty() && digits.back() < 0 ? ~uint64_t{0} : 0;  // the sign goes on
    std::memcpy(&number, digits.data(), digits.size());
    value.integer = static_cast<int64_t>(number);
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
        check_marks();
        return true;
      case 't': {
        auto items = pop_to_mark();
        push(Kind::tuple).items = std::move(items);
        return true;
      }
      case 0x85:
      case 0x86:
      case 0x87: {
        std::vector<PickleValue*> items(opcode - 0x84u);
        for (size_t i = items.size(); i-- > 0;) items[i] = &pop();
        push(Kind::tuple).items = std::move(items);
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
  void check_marks() const {
    if (marks_.size() > 64) damaged("the pickle is nested more than 64 deep");
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
        if (!storage_type(global) && global != kOrderedDict && global != kRebuildTensor && global != kRebuildParameter)
          damaged("refuses to load ", module, ".", name, ": only tensors in dicts are read, nothing is run");
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
        top(Kind::dict, "an OrderedDict for its attributes");
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
      PickleValue& dict = push(Kind::dict);
      if (arguments.items.empty()) return;
      for (const PickleValue* pair : arguments.items[0]->items) {
        if (pair->items.size() != 2) damaged("an OrderedDict of something other than pairs");
        append(dict, pair->items);
      }
    } else if (callee.string == kRebuildTensor) {
      rebuild_tensor(arguments);
    } else if (callee.string == kRebuildParameter) {
      if (arguments.items.empty() || arguments.items[0]->kind != Kind::tensor) damaged("a parameter without a tensor");
      push(*arguments.items[0]);
    } else {
      damaged("a call of ", callee.string, ", which is no function");
    }
  }

  void rebuild_tensor(const PickleValue& arguments) {
    const auto& a = arguments.items;
    const bool fits = a.size() >= 4 && a[0]->kind == Kind::storage && a[1]->kind == Kind::integer &&
                      a[2]->kind == Kind::tuple && a[3]->kind == Kind::tuple &&
                      a[2]->items.size() == a[3]->items.size();
    if (!fits) damaged("a tensor without storage, offset, sizes and strides");
    for (const PickleValue* numbers : {a[2], a[3]})
      for (const PickleValue* number : numbers->items)
        if (number->kind != Kind::integer || !number->string.empty())
          damaged("a tensor with a size that is no integer");
    PickleValue& tensor = push(Kind::tensor);
    tensor.integer = a[1]->integer;
    tensor.items = {a[0], a[2], a[3]};
  }

  // ('storage', type, key, location, elements[, view]) stands for the raw storage of that key.
  void persistent_id() {
    const PickleValue& id = pop();
    const auto& a = id.items;
    const bool fits = id.kind == Kind::tuple && a.size() >= 5 && a[0]->string == "storage" &&
                      a[1]->kind == Kind::global && a[2]->kind == Kind::string && a[4]->kind == Kind::integer &&
                      a[4]->integer >= 0;
    const StorageType* type = fits ? storage_type(a[1]->string) : nullptr;
    if (!type) damaged("a reference to something other than a tensor's storage");
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
  size_t largest_container_, most_values_;
  size_t position_ = 0, opcode_at_ = 0;
  std::vector<PickleValue*> stack_;
  std::vector<size_t> marks_;
  std::unordered_map<uint32_t, PickleValue*> memo_;
};

}  // namespace

const PickleValue* PickleValue::find(const std::string& key) const {
  if (kind != Kind::dict) return nullptr;
  for (size_t i = 0; i + 1 < items.size(); i += 2)
    if (items[i]->kind == Kind::string && items[i]->string == key) return items[i + 1];
  return nullptr;
}

size_t PickleValue::item_bytes() const {
  return encoding == Encoding::plain ? size_of(dtype) : encoding == Encoding::boolean ? 1 : 2;
}

const PickleValue& read_pickle(std::span<const std::byte>& bytes, PickleValues& values, size_t file_bytes,
                               const std::string& path) {
  Interpreter interpreter(bytes, values, file_bytes, path);
  const PickleValue& result = interpreter.run();
  bytes = bytes.subspan(interpreter.position());
  return result;
}

}  // namespace apotnet
