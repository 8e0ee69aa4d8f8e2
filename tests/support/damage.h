#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "core/base/error.h"
#include "core/io/tensor_file.h"
#include "tests/support/allocation_record.h"
#include "tests/support/files.h"

namespace apotnet::test {

/// A reader of a file in memory, `path` for its messages.
using Parser = std::function<TensorFile(std::span<const std::byte>, const std::string&)>;

/// The message the parser refuses `content` with, "" when it accepts. Checks what every refusal must keep: category
/// damaged_data, one line that starts with the path, no allocation beyond twice the file and 64 KB.
inline std::string refusal(const Parser& parse, const std::string& content) {
  const std::vector<std::byte> bytes = to_bytes(content);
  std::string message;
  reset_largest_allocation();
  try {
    parse(bytes, "some.file");
  } catch (const Error& error) {
    message = error.what();
    CHECK_MESSAGE(error.category() == ErrorCategory::damaged_data, message);
    CHECK_MESSAGE(message.find('\n') == std::string::npos, message);
    CHECK_MESSAGE(message.starts_with("some.file: "), message);
  }
  CHECK_MESSAGE(largest_allocation() <= 2 * bytes.size() + 65536, message);
  return message;
}

struct Damage {
  const char* name;
  std::string content;
  const char* expected;  ///< part of the message
};

inline void check_damages(const Parser& parse, const std::vector<Damage>& damages) {
  for (const Damage& damage : damages) {
    INFO(std::string(damage.name));
    const std::string message = refusal(parse, damage.content);
    CHECK_MESSAGE(message.find(damage.expected) != std::string::npos, "got: ", message,
                  " wanted: ", std::string(damage.expected));
  }
}

/// Every truncation at about 200 positions must be refused.
inline void check_truncations(const Parser& parse, const std::string& content) {
  const size_t step = std::max<size_t>(1, content.size() / 200);
  for (size_t length = 0; length < content.size(); length += step) {
    CAPTURE(length);
    CHECK(refusal(parse, content.substr(0, length)) != "");
  }
  CHECK(refusal(parse, content.substr(0, content.size() - 1)) != "");
}

/// Random damage is refused or survived, never a crash. Returns how many of the mutations were refused.
inline int fuzz(const Parser& parse, const std::string& content, int mutations, uint32_t seed) {
  std::mt19937 random(seed);
  int refused = 0;
  for (int i = 0; i < mutations; ++i) {
    std::string mutated = content;
    for (uint32_t hits = 1 + random() % 4; hits > 0; --hits) {
      const size_t at = random() % mutated.size();
      if (random() % 8 == 0)
        mutated.erase(at, 1 + random() % 8);
      else if (random() % 8 == 0)
        mutated.insert(at, 1 + random() % 8, static_cast<char>(random()));
      else
        mutated[at] = static_cast<char>(random() % 4 ? random() : mutated[at] ^ (1u << random() % 8));
      if (mutated.empty()) break;
    }
    refused += refusal(parse, mutated) != "";
  }
  return refused;
}

}  // namespace apotnet::test
