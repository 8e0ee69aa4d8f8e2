#include "tools/config/config.h"

#include <doctest/doctest.h>

#include <algorithm>

#include "core/base/build_info.h"
#include "core/base/error.h"
#include "models/registry.h"
#include "tests/support/run_program.h"
#include "tools/config/schema.h"
#include "tools/training/model_file.h"

using namespace apotnet;
using test::TemporaryFolder;

namespace {

// A configuration that holds, with `more` in front of its stages.
std::string config_with(const std::string& more) {
  return "{" + more + "\n\"stages\": [{\"epochs\": 10, \"lr\": 0.1}]}";
}
// One whose only stage has `more` behind epochs and lr.
std::string stage_with(const std::string& more) {
  return "{\"stages\": [{\"epochs\": 10, \"lr\": 0.1, " + more + "}]}";
}

// The message of an Error, and its category.
struct Refusal {
  std::string message;
  int code = 0;
};
template <typename Action>
Refusal refusal(Action&& action) {
  try {
    action();
  } catch (const Error& error) {
    return {error.what(), error.exit_code()};
  }
  return {};
}

ResolvedConfig load(const std::string& text, const std::vector<std::string>& overrides = {}) {
  const TemporaryFolder folder;
  test::write_text(folder / "c.json", text);
  return load_config(folder / "c.json", overrides);
}

std::string origin_of(const ResolvedConfig& config, const std::string& path) {
  for (const ConfigValue& value : config.values)
    if (value.path == path) return value.origin.substr(value.origin.rfind('/') + 1);
  return "nowhere";
}

}  // namespace

TEST_CASE("malformed configurations are refused by name, with line, column and what was expected") {
  struct Row {
    std::string name, text;
    std::vector<const char*> fragments;
  };
  const std::vector<Row> rows = {
      {"a string for a number",
       stage_with("\"gamma\": \"0,1\""),
       {"c.json:1:48: error: stages.0.gamma", "a number in (0, 1]", "string \"0,1\""}},
      {"a fraction for an integer",
       config_with("\"data\": {\"batch\": 3.7},"),
       {"1:20", "data.batch", "an integer from 1 to 65536", "3.7"}},
      {"true for a number", config_with("\"data\": {\"batch\": true},"), {"1:20", "data.batch", "true"}},
      {"an integer written as 8.0", config_with("\"data\": {\"batch\": 8.0},"), {"data.batch", "8.0"}},
      {"a list for a string", config_with("\"data\": {\"root\": [1]},"), {"data.root: expected a string, got a list"}},
      {"an object for a number", config_with("\"seed\": {},"), {"seed", "an integer", "an object"}},
      {"1 for a switch",
       config_with("\"quant\": {\"rcf\": 1},"),
       {"1:19: error: quant.rcf: expected true or false, got"}},
      {"a word for a switch",
       config_with("\"quant\": {\"weight_norm\": \"true\"},"),
       {"quant.weight_norm: expected true or false, got string"}},
      {"sub-batches of one image",
       config_with("\"data\": {\"ghost_batch\": 1},"),
       {"1:26: error: data.ghost_batch", "expected 0 (off) or at least 2"}},
      {"parts that a batch does not have",
       config_with("\"data\": {\"batch\": 32, \"accumulate\": 3},"),
       {"1:38: error: data.accumulate: a batch of 32 cannot be cut into 3 equal parts"}},
      {"two ways to cut pictures",
       config_with("\"data\": {\"name\": \"imagenet\", \"augment\": [\"random_crop\", \"random_resized_crop\"]},"),
       {"data.augment: random_crop and random_resized_crop exclude each other"}},
      {"pictures to cut where there are none",
       config_with("\"data\": {\"name\": \"shapes10\", \"augment\": [\"random_crop\"]},"),
       {"data.augment", "larger pictures than shapes10 has; use pad_crop"}},
      {"images larger than their pictures",
       config_with("\"data\": {\"name\": \"imagenet\", \"image_size\": 300},"),
       {"1:45: error: data.image_size: images of 300 pixels cannot be cut out of pictures resized to 256"}},
      {"a validation split of all images",
       config_with("\"data\": {\"train_limit\": 500, \"validation\": 500},"),
       {"data.train_limit: 500 training images, and data.validation holds out 500 of them"}},
      {"a validation split of all generated images",
       config_with("\"data\": {\"name\": \"shapes10\", \"train_count\": 100},"),
       {"data.train_count: 100 training images, and data.validation holds out 5000"}},
      {"null for a number", stage_with("\"lr_\": null"), {"unknown key", "stages.0.lr"}},
      {"a value below its range",
       config_with("\"data\": {\"batch\": 0},"),
       {"data.batch", "from 1 to 65536", "number 0"}},
      {"a value above its range", config_with("\"data\": {\"batch\": 65537},"), {"data.batch", "number 65537"}},
      {"an integer that no double holds",
       config_with("\"seed\": 9007199254740993,"),
       {"seed: expected an integer from 0 to 9007199254740992, got number 9007199254740993"}},
      {"an integer above 2^63",
       config_with("\"seed\": 18446744073709551615,"),
       {"seed: expected an integer", "got number 18446744073709551615"}},
      {"an integer above 2^64",
       config_with("\"seed\": 99999999999999999999,"),
       {"seed: expected an integer", "got number 99999999999999999999"}},
      {"the open end of a range", config_with("\"optimizer\": {\"momentum\": 1},"), {"optimizer.momentum", "[0, 1)"}},
      {"a number that is too large for JSON", config_with("\"seed\": 1e400,"), {"c.json:1:", "error"}},
      {"bits between 8 and 32", stage_with("\"bits\": 9"), {"stages.0.bits", "2 to 8, or 32", "9"}},
      {"bits of one", stage_with("\"weight_bits\": 1"), {"stages.0.weight_bits", "2 to 8, or 32"}},
      {"an unknown network",
       config_with("\"model\": {\"name\": \"resnet21\"},"),
       {"model.name", "resnet20, resnet32", "\"resnet21\""}},
      {"an unknown method", config_with("\"quant\": {\"method\": \"log\"},"), {"one of apot, pot, uniform"}},
      {"an unknown augmentation",
       config_with("\"data\": {\"augment\": [\"flop\"]},"),
       {"data.augment", "pad_crop, flip"}},
      {"an augmentation twice",
       config_with("\"data\": {\"augment\": [\"flip\", \"flip\"]},"),
       {"data.augment", "different"}},
      {"an unknown key at the top", config_with("\"sead\": 1,"), {"1:2: error: sead: unknown key; did you mean seed?"}},
      {"a key in the wrong place",
       config_with("\"model\": {\"wight_bits\": 4},"),
       {"1:12: error: model.wight_bits: unknown key; did you mean stages.0.weight_bits?"}},
      {"an unknown key of a stage",
       stage_with("\"epoch\": 3"),
       {"1:39: error: stages.0.epoch: unknown key; did you mean stages.0.epochs?"}},
      {"a key like nothing known", config_with("\"zzzzzzzz\": 1,"), {"zzzzzzzz: unknown key"}},
      {"a group that is no object", config_with("\"data\": 5,"), {"data: expected an object", "number 5"}},
      {"a key twice",
       config_with("\"seed\": 1,\n  \"seed\": 2,"),
       {"c.json:2:3: error: \"seed\" stands twice in this object; keep one"}},
      {"a comment", config_with("// seed\n"), {"c.json:1:2: error", "comments are not allowed"}},
      {"a trailing comma", "{\"seed\": 1,}", {"c.json:1:12: error", "trailing commas are not allowed"}},
      {"single quotes", "{'seed': 1}", {"c.json:1:2: error", "strings and keys take double quotes"}},
      {"a key without quotes", "{seed: 1}", {"c.json:1:2: error", "words take double quotes"}},
      {"True", "{\"quant\": {\"rcf\": True}}", {"c.json:1:19: error", "true, false and null in small letters"}},
      {"a number without a digit before the point", "{\"seed\": .5}", {"c.json:1:10: error", "as in 0.1"}},
      {"a text that ends too early",
       "{\"seed\": 1",
       {"c.json:1:11: error", "a bracket or a quote before it is not closed"}},
      {"text behind the end", config_with("") + " x", {"c.json:2:40: error"}},
      {"text behind a zero byte", config_with("") + std::string("\0x", 2), {"c.json:2:39: error", "zero byte"}},
      {"a string without end", "{\"seed", {"c.json:1:7: error"}},
      {"invalid UTF-8", config_with("\"data\": {\"root\": \"\xff\"},"), {"c.json:1:", "error"}},
      {"nesting without end", std::string(100, '['), {"nested more than 64"}},
      {"an empty file", "", {"c.json:1:1: error", "the file is empty: write an object"}},
      {"an empty line", "\n", {"the file is empty"}},
      {"a root that is a list", "[]", {"c.json:1:1: error: expected an object"}},
      {"no stages", "{}", {"stages: expected a list of at least one stage"}},
      {"an empty list of stages", "{\"stages\": []}", {"1:12: error: stages: expected a list of at least one"}},
      {"stages that are no list",
       "{\"stages\": {\"epochs\": 1, \"lr\": 1}}",
       {"1:12: error: stages: expected a list of at least one stage, got an object"}},
      {"a stage that is no object", "{\"stages\": [1]}", {"1:13: error: stages.0: expected an object"}},
      {"a stage without epochs", "{\"stages\": [{\"lr\": 0.1}]}", {"1:13: error: stages.0.epochs: missing"}},
      {"a stage without lr", "{\"stages\": [{\"epochs\": 1}]}", {"stages.0.lr: missing; expected a number in (0, 10]"}},
      {"milestones that fall", stage_with("\"milestones\": [5, 3]"), {"stages.0.milestones", "increasing"}},
      {"a milestone behind the end", stage_with("\"milestones\": [5, 10]"), {"stages.0.milestones: 10 is not below"}},
      {"a stage's name with a space", stage_with("\"name\": \"my stage\""), {"stages.0.name", "letters, digits"}},
      {"two stages of one name",
       "{\"stages\": [{\"name\": \"a\", \"epochs\": 1, \"lr\": 1}, {\"name\": \"a\", \"epochs\": 1, \"lr\": 1}]}",
       {"stages.1.name: \"a\" is the name of stages.0 too"}},
      {"float weights with 4-bit activations",
       stage_with("\"weight_bits\": 32"),
       {"stages.0.weight_bits", "either both are 32"}},
      {"a gradient scale of the cifar variant",
       config_with("\"quant\": {\"grad_scale\": 0.5},"),
       {"quant.grad_scale", "imagenet"}},
      {"levels that do not exist",
       "{\"quant\": {\"method\": \"pot\"}, \"stages\": [{\"bits\": 6, \"epochs\": 1, \"lr\": 1}]}",
       {"1:50: error: stages.0.activation_bits: no pot levels of 6"}},
      {"a base that is not there",
       config_with("\"extends\": \"nowhere.json\","),
       {"1:13: error: extends: there is no", "nowhere.json; the name is relative to this file"}},
      {"a base that is no file name", config_with("\"extends\": 5,"), {"extends: expected a file name"}},
      {"a file that extends itself", config_with("\"extends\": \"c.json\","), {"a circle, c.json extends c.json"}},
  };
  CHECK(rows.size() >= 20);
  for (const Row& row : rows) {
    CAPTURE(row.name);
    const Refusal refused = refusal([&] { load(row.text); });
    CHECK(refused.code == 78);
    for (const char* fragment : row.fragments)
      CHECK_MESSAGE(refused.message.find(fragment) != std::string::npos, row.name, ": ", refused.message);
    CHECK_MESSAGE(std::ranges::count(refused.message, '\n') == 0, refused.message);
  }
}

TEST_CASE("all mistakes of a configuration are reported at once") {
  const std::string text =
      "{\n  \"sead\": 1,\n  \"data\": {\"batch\": \"many\"},\n  \"stages\": [{\"epochs\": 0, \"lr\": 11}]\n}\n";
  const Refusal refused = refusal([&] { load(text); });
  CHECK(std::ranges::count(refused.message, '\n') == 3);
  for (const char* fragment :
       {":2:3: error: sead", ":3:21: error: data.batch", ":4:25: error: stages.0.epochs", ":4:34: error: stages.0.lr"})
    CHECK_MESSAGE(refused.message.find(fragment) != std::string::npos, refused.message);
}

TEST_CASE("a mistake hides no other one that can be told without it") {
  const std::string text =
      R"({"quant": {"method": "pot"}, "data": {"name": "shapes10", "validation": 60000, "train_count": 100,
      "batch": "many"}, "stages": [{"bits": 8, "epochs": 1, "lr": 1}]})";
  const std::string all = refusal([&] { load(text); }).message;
  for (const char* fragment : {"data.batch: expected", "stages.0.weight_bits: ", "stages.0.activation_bits: ",
                               "data.train_count: 100 training images"})
    CHECK_MESSAGE(all.find(fragment) != std::string::npos, all);
}

TEST_CASE("a base is merged: objects key by key, null removes, lists are replaced whole, origins are kept") {
  const TemporaryFolder folder;
  test::write_text(folder / "root.json",
                   "{\"seed\": 5, \"data\": {\"batch\": 64, \"augment\": [\"flip\"], \"workers\": 2},\n"
                   " \"stages\": [{\"epochs\": 1, \"lr\": 1}, {\"epochs\": 2, \"lr\": 1}]}");
  test::write_text(folder / "middle.json",
                   "{\"extends\": \"root.json\", \"data\": {\"workers\": null, \"augment\": []}}");
  test::write_text(
      folder / "leaf.json",
      "{\"extends\": \"middle.json\",\n \"data\": {\"batch\": 32}, \"stages\": [{\"epochs\": 3, \"lr\": 1}]}");
  const ResolvedConfig config = load_config(folder / "leaf.json", {"optimizer.momentum=0.5"});
  CHECK(config.run.seed == 5);
  CHECK(config.run.data.batch == 32);
  CHECK(config.run.data.workers == 1);
  CHECK(config.run.data.augment.empty());
  CHECK(config.run.stages.size() == 1);
  CHECK(origin_of(config, "seed") == "root.json:1:10");
  CHECK(origin_of(config, "data.batch") == "leaf.json:2:20");
  CHECK(origin_of(config, "data.workers") == "default");
  CHECK(origin_of(config, "optimizer.momentum") == "--set");

  test::write_text(folder / "a.json", "{\"extends\": \"b.json\"}");
  test::write_text(folder / "b.json", "{\"extends\": \"a.json\"}");
  const Refusal circle = refusal([&] { load_config(folder / "a.json", {}); });
  CHECK(circle.code == 78);
  CHECK(circle.message.find("a.json extends b.json extends a.json") != std::string::npos);
}

TEST_CASE("--set takes JSON or a bare string, and reaches into lists") {
  const std::string text = config_with("");
  const RunConfig run = load(text, {"stages.0.epochs=3", "data.name=shapes10", "data.augment=[\"flip\"]",
                                    "stages.0.lr=0.5", "stages.0.milestones=[1,2]"})
                            .run;
  CHECK(run.stages[0].epochs == 3);
  CHECK(run.stages[0].lr == 0.5);
  CHECK(run.data.name == "shapes10");
  CHECK(run.data.augment == std::vector<std::string>{"flip"});
  const RunConfig switched = load(text, {"quant.rcf=false", "quant.weight_norm=false", "data.ghost_batch=64"}).run;
  CHECK_FALSE(switched.quant.rcf);
  CHECK_FALSE(switched.quant.weight_norm);
  CHECK(switched.data.ghost_batch == 64);
  CHECK(run.quant.rcf);
  for (const auto& [setting, fragment] : {std::pair{"stages.1.epochs=3", "no entry of this list of 1"},
                                          {"stages.x.epochs=3", "no entry of this list"},
                                          {"seed", "expected path=value"},
                                          {"=5", "expected path=value"},
                                          {"sead=5", "did you mean seed?"},
                                          {"seed=five", "--set: error: seed: expected an integer"},
                                          {"data=5", "data: expected an object"}}) {
    CAPTURE(setting);
    const Refusal refused = refusal([&] { load(text, {setting}); });
    CHECK(refused.code == 78);
    CHECK_MESSAGE(refused.message.find(fragment) != std::string::npos, refused.message);
  }
}

TEST_CASE("bits sets both widths, the single ones override it") {
  CHECK(load(stage_with("\"bits\": 3")).run.stages[0].activation_bits == 3);
  const StageConfig mixed = load(stage_with("\"activation_bits\": 5, \"bits\": 3")).run.stages[0];
  CHECK(mixed.weight_bits == 3);
  CHECK(mixed.activation_bits == 5);
}

TEST_CASE("a resolved configuration loads back to itself") {
  const ResolvedConfig config = load(stage_with("\"bits\": 3, \"milestones\": [2, 5], \"weight_decay\": 3e-5"));
  CHECK(load(config.json).json == config.json);
  CHECK(parse_resolved(config.json, "x").stages[0].weight_decay == 3e-5);
  const Refusal refused = refusal([] { parse_resolved("{\"seed\": -1, \"sead\": 2}", "last.safetensors"); });
  CHECK(refused.code == 65);
  CHECK(refused.message.find('\n') == std::string::npos);
  CHECK(refused.message.starts_with("last.safetensors"));
}

TEST_CASE("every default lies in its own range, and help stands in every row") {
  RunConfig run;
  StageConfig stage;
  for (const Field& field : fields()) {
    CAPTURE(field.path);
    CHECK(!field.help.empty());
    const JsonNode value = value_at(field.target(run, stage));
    if (!field.required && field.leaf() != "name") CHECK(field.assign(value, field.target(run, stage)));
  }
}

TEST_CASE("the shipped configurations load, and their networks can be built; the documents list each") {
  size_t loaded = 0;
  const std::string folder = std::string(kSourceFolder) + "/configs", list = test::read_text(folder + "/README.md");
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string name = entry.path().lexically_relative(folder).string();
    if (entry.path().extension() != ".json") continue;
    CAPTURE(name);
    CHECK(list.find("`" + name + "`") != std::string::npos);
    if (name.starts_with("base_")) continue;
    const ResolvedConfig config = load_config(entry.path().string(), {});
    for (const StageConfig& stage : config.run.stages)
      CHECK(make_model(model_settings(config.run, stage, 10))->parameters().size() > 0);
    CHECK(load(config.json).json == config.json);
    ++loaded;
  }
  CHECK(loaded >= 80);
}

TEST_CASE("a configuration stored before a field existed counts as having its default") {
  const ResolvedConfig now = load(stage_with("\"bits\": 4"));
  const std::vector<std::string> added{"    \"ghost_batch\": 0,\n", "    \"rcf\": true,\n",
                                       "    \"weight_norm\": true,\n"};
  std::string before = now.json;
  for (const std::string& line : added) {
    REQUIRE(before.find(line) != std::string::npos);
    before.erase(before.find(line), line.size());
  }
  CHECK(differences(before, now, "last.safetensors").empty());
  CHECK(differences(before, load(stage_with("\"bits\": 4"), {"quant.rcf=false", "data.ghost_batch=64"}), "x") ==
        std::vector<std::string>{"data.ghost_batch: 0 -> 64", "quant.rcf: true -> false"});
}

TEST_CASE("docs/configuration.md holds the table that the program prints") {
  const std::string document = test::read_text(std::string(kSourceFolder) + "/docs/configuration.md");
  CHECK(document.ends_with("\n\n" + markdown_reference()));
}
