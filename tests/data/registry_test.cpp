#include "data/registry.h"

#include <cstdlib>

#include "tests/data/support.h"

using namespace apotnet;
using namespace apotnet::test;
namespace fs = std::filesystem;

namespace {

/// Sets or (nullptr) clears an environment variable for the time of a test.
class Environment {
 public:
  Environment(const char* name, const char* value) : name_(name) {
    if (const char* old = std::getenv(name)) old_ = old;
    set(value);
  }
  ~Environment() { set(old_ ? old_->c_str() : nullptr); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  void set(const char* value) { value ? ::setenv(name_, value, 1) : ::unsetenv(name_); }

  const char* name_;
  std::optional<std::string> old_;
};

}  // namespace

TEST_CASE("every registered data set is a spec, and opens or says what is missing") {
  TemporaryFolder scratch;
  for (const std::string& name : dataset_names()) {
    CAPTURE(name);
    CHECK(parse_data_spec(name).name == name);
    CHECK(parse_data_spec(name).root.empty());
    CHECK(parse_data_spec(name + ":some/where").root == "some/where");
    const std::optional<Error> error = error_of([&] {
      for (const Split split : {Split::train, Split::test}) {
        const auto dataset =
            open_dataset(name, scratch.path(), split, {.seed = 1, .train_count = 20, .test_count = 10});
        CHECK(dataset->name() == name);
        const DatasetInfo info = dataset_info(name);
        CHECK(dataset->class_names() == info.class_names);
        CHECK(dataset->info().mean == info.mean);
        CHECK(dataset->height() == info.height);
        CHECK(dataset->split_name() == name_of(split));
        CHECK(dataset->size() == (split == Split::train ? 20 : 10));
      }
    });
    if (error) CHECK(error->category() == ErrorCategory::input_missing);
    CHECK(dataset_info(name).name == name);
    CHECK(dataset_info(name).class_names.size() == (name == "cifar100" ? 100 : name == "imagenet" ? 1000 : 10));
  }
}

TEST_CASE("the data set of a bare folder is told from its files") {
  TemporaryFolder scratch;
  const fs::path ten = scratch.path() / "ten", hundred = scratch.path() / "with:colon", none = scratch.path() / "none";
  write_file(ten / "cifar-10-batches-bin/test_batch.bin", "");
  write_file(hundred / "train.bin", "");
  fs::create_directory(none);
  CHECK(parse_data_spec(ten.string()).name == "cifar10");
  CHECK(parse_data_spec(ten.string()).root == ten);
  CHECK(parse_data_spec(hundred.string()).name == "cifar100");
  check_error([&] { parse_data_spec(none.string()); }, ErrorCategory::input_missing, {"holds none of", "cifar10"});
  check_error([&] { parse_data_spec("no/such"); }, ErrorCategory::input_missing, {"no/such", "neither a folder nor"});
  check_error([&] { parse_data_spec("cifar11:x"); }, ErrorCategory::usage,
              {"no data set cifar11", "cifar10, cifar100"});
  check_error([&] { parse_data_spec("cifar10:"); }, ErrorCategory::usage, {"cifar10:DIR"});
  check_error([&] { parse_data_spec(""); }, ErrorCategory::usage, {"empty"});
  check_error([&] { open_dataset("cifar11", "", Split::test); }, ErrorCategory::configuration, {"cifar11"});
  check_error([&] { dataset_info("cifar11"); }, ErrorCategory::configuration, {"cifar11"});
}

TEST_CASE("the data root is what was given, else configured, else in the environment, else the cache") {
  Environment data("APOTNET_DATA", "/from/variable"), cache("XDG_CACHE_HOME", "/cache"), home("HOME", "/home/me");
  CHECK(resolve_data_root("given", "configured") == "given");
  CHECK(resolve_data_root("", "configured") == "configured");
  CHECK(resolve_data_root("", "") == "/from/variable");
  Environment no_data("APOTNET_DATA", nullptr);
  CHECK(resolve_data_root("", "") == "/cache/apotnet");
  Environment no_cache("XDG_CACHE_HOME", "");
  CHECK(resolve_data_root("", "") == "/home/me/.cache/apotnet");
  Environment no_home("HOME", nullptr);
  check_error([] { resolve_data_root("", ""); }, ErrorCategory::input_missing, {"APOTNET_DATA"});
}
