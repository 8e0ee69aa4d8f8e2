#include "core/io/safetensors_header.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>

#include "core/base/error.h"
#include "core/io/printable.h"

namespace apotnet {
namespace {

using Json = nlohmann::json;

constexpr uint64_t kLargestNumber = uint64_t{1} << 53;  // what every JSON reader holds exactly
constexpr uint64_t kMostElements = uint64_t{1} << 62;

struct TypeName {
  std::string_view name;
  DType dtype;
  bool half = false;
};
constexpr std::array kTypes{
    TypeName{"F64", DType::f64}, TypeName{"F32", DType::f32}, TypeName{"BF16", DType::bf16},
    TypeName{"U8", DType::u8},   TypeName{"I8", DType::s8},   TypeName{"I16", DType::s16},
    TypeName{"I32", DType::s32}, TypeName{"I64", DType::i64}, TypeName{"F16", DType::f32, true}};

// Events of the JSON parser; what a derived class does not expect is an error. Nothing is built that the header does
// not need, so a hostile header costs no memory.
class StrictHandler : public nlohmann::json_sax<Json> {
 public:
  StrictHandler(const std::string& path, const char* what) : path_(path), what_(what) {}

  void parse(std::string_view json) {
    // A zero byte would be the end to the parser, whatever follows.
    if (const size_t zero = json.find('\0'); zero != json.npos) damaged("is not valid JSON at byte ", zero + 1);
    Json::sax_parse(json.begin(), json.end(), this);
  }

  bool null() override { unexpected("null"); }
  bool boolean(bool) override { unexpected("a boolean"); }
  bool number_integer(int64_t) override { unexpected("a negative number"); }
  bool number_unsigned(uint64_t) override { unexpected("a number"); }
  bool number_float(double, const std::string&) override { unexpected("a fraction or a number beyond 64 bits"); }
  bool string(std::string&) override { unexpected("a string"); }
  bool binary(Json::binary_t&) override { unexpected("binary"); }
  bool start_object(size_t) override { unexpected("an object"); }
  bool end_object() override { return true; }
  bool start_array(size_t) override { unexpected("a list"); }
  bool end_array() override { return true; }
  bool parse_error(size_t position, const std::string&, const nlohmann::detail::exception&) override {
    damaged("is not valid JSON at byte ", position);
  }

 protected:
  template <typename... Parts>
  [[noreturn]] void damaged(const Parts&... parts) const {
    fail(ErrorCategory::damaged_data, path_, ": ", what_, " ", parts...);
  }
  [[noreturn]] void unexpected(const char* found) const { damaged("has ", found, " where it may not", where()); }
  // What the parser is at, for the messages.
  virtual std::string where() const { return ""; }

  const std::string& path_;
  const char* what_;
};

// {"key": "text", ...}
class StringMapHandler : public StrictHandler {
 public:
  using StrictHandler::StrictHandler;
  std::map<std::string, std::string> result;

  bool start_object(size_t) override {
    if (inside_) unexpected("an object");
    return inside_ = true;
  }
  bool key(std::string& name) override {
    if (result.contains(name)) damaged("has the key ", printable(name), " twice");
    current_ = &result[name];
    return true;
  }
  bool string(std::string& value) override {
    if (!inside_) unexpected("a string");
    *current_ = std::move(value);
    return true;
  }

 private:
  bool inside_ = false;
  std::string* current_ = nullptr;
};

class HeaderHandler : public StrictHandler {
 public:
  HeaderHandler(const std::string& path, uint64_t data_bytes)
      : StrictHandler(path, "header"), data_bytes_(data_bytes) {}
  SafetensorsHeader result;

  bool start_object(size_t) override {
    switch (place_) {
      case Place::outside:
        place_ = Place::top;
        return true;
      case Place::top:
        if (name_ == "__metadata__") {
          place_ = Place::metadata;
        } else {
          place_ = Place::tensor;
          type_ = nullptr;
          has_shape_ = has_offsets_ = false;
        }
        return true;
      default:
        unexpected("an object");
    }
  }

  bool key(std::string& key) override {
    const bool repeated = place_ == Place::top        ? !names_.insert(key).second
                          : place_ == Place::metadata ? result.metadata.contains(key)
                                                      : has_field(key);
    if (repeated) damaged("has ", printable(key), " twice", where());
    if (place_ == Place::tensor && key != "dtype" && key != "shape" && key != "data_offsets")
      damaged("has the unknown field ", printable(key), where(), "; known are dtype, shape, data_offsets");
    (place_ == Place::top ? name_ : field_) = std::move(key);
    return true;
  }

  bool string(std::string& value) override {
    if (place_ == Place::metadata) {
      result.metadata[field_] = std::move(value);
      return true;
    }
    if (place_ != Place::tensor || field_ != "dtype") unexpected("a string");
    const auto type = std::ranges::find(kTypes, value, &TypeName::name);
    if (type == kTypes.end())
      damaged("has the unknown type ", printable(value), where(), "; known are F64 F32 F16 BF16 U8 I8 I16 I32 I64");
    type_ = &*type;
    return true;
  }

  bool start_array(size_t) override {
    if (place_ != Place::tensor || field_ == "dtype") unexpected("a list");
    place_ = field_ == "shape" ? Place::shape : Place::offsets;
    count_ = 0;
    return true;
  }

  bool number_unsigned(uint64_t number) override {
    if (place_ != Place::shape && place_ != Place::offsets) unexpected("a number");
    if (number > kLargestNumber) unexpected("a number above 2^53");
    if (place_ == Place::shape) {
      if (count_ == sizes_.size()) damaged("has more than ", sizes_.size(), " dimensions", where());
      sizes_[count_++] = static_cast<int64_t>(number);
    } else {
      if (count_ == offsets_.size()) damaged("has more than two data_offsets", where());
      offsets_[count_++] = number;
    }
    return true;
  }

  bool end_array() override {
    if (place_ == Place::shape) {
      has_shape_ = true;
      rank_ = count_;
    } else {
      if (count_ != 2) damaged("has ", count_, " data_offsets instead of two", where());
      has_offsets_ = true;
    }
    place_ = Place::tensor;
    return true;
  }

  bool end_object() override {
    if (place_ == Place::tensor) finish_tensor();
    place_ = place_ == Place::top ? Place::outside : Place::top;
    return true;
  }

 private:
  enum class Place { outside, top, metadata, tensor, shape, offsets };

  std::string where() const override {
    if (place_ == Place::outside) return " (it must be an object)";
    if (place_ == Place::top) return name_.empty() ? "" : ", near tensor " + printable(name_);
    if (place_ == Place::metadata) return ", in __metadata__";
    return ", in tensor " + printable(name_);
  }
  bool has_field(const std::string& key) const {
    return (key == "dtype" && type_) || (key == "shape" && has_shape_) || (key == "data_offsets" && has_offsets_);
  }

  void finish_tensor() {
    if (!type_ || !has_shape_ || !has_offsets_)
      damaged("lacks ", !type_ ? "dtype" : !has_shape_ ? "shape" : "data_offsets", where());
    uint64_t elements = 1;
    for (size_t i = 0; i < rank_; ++i) {
      const bool overflow = __builtin_mul_overflow(elements, static_cast<uint64_t>(sizes_[i]), &elements);
      if (overflow || elements > kMostElements / sizeof(double)) damaged("has a shape of too many elements", where());
    }
    const auto [begin, end] = offsets_;
    if (begin > end || end > data_bytes_)
      damaged("has data_offsets [", begin, ", ", end, "] outside the ", data_bytes_, " bytes of data", where());
    const uint64_t needed = elements * (type_->half ? 2 : size_of(type_->dtype));
    if (end - begin != needed) damaged("gives ", end - begin, " bytes where shape and type need ", needed, where());
    result.entries.push_back({std::move(name_), type_->dtype, type_->half,
                              Shape(std::span<const int64_t>(sizes_.data(), rank_)), begin, end});
    name_.clear();
  }

  uint64_t data_bytes_;
  Place place_ = Place::outside;
  std::set<std::string> names_;
  std::string name_, field_;
  // The fields of the present tensor.
  const TypeName* type_ = nullptr;
  bool has_shape_ = false, has_offsets_ = false;
  std::array<int64_t, Shape::kMaxRank> sizes_{};
  std::array<uint64_t, 2> offsets_{};
  size_t rank_ = 0, count_ = 0;
};

}  // namespace

SafetensorsHeader parse_safetensors_header(std::string_view json, uint64_t data_bytes, const std::string& path) {
  HeaderHandler handler(path, data_bytes);
  handler.parse(json);
  return std::move(handler.result);
}

std::map<std::string, std::string> parse_string_map(std::string_view json, const std::string& path, const char* what) {
  StringMapHandler handler(path, what);
  handler.parse(json);
  return std::move(handler.result);
}

std::string_view safetensors_name(DType dtype) {
  for (const TypeName& type : kTypes)
    if (type.dtype == dtype && !type.half) return type.name;
  fail(ErrorCategory::internal, "no safetensors type for ", name_of(dtype));
}

}  // namespace apotnet
