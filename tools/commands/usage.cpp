#include "tools/commands/usage.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "core/base/error.h"
#include "tools/config/schema.h"
#include "tools/nearest.h"

namespace apotnet {
namespace {

// The command that the words lead to; `words` keeps those behind its name.
const CLI::App& command_of(const CLI::App& app, std::vector<std::string>& words, std::string& name) {
  const CLI::App* command = &app;
  for (auto word = words.begin(); word != words.end();) {
    const auto known = command->get_subcommands([&](const CLI::App* each) { return each->get_name() == *word; });
    if (known.empty()) {
      if (!word->starts_with("-")) break;  // no command, nor a flag before one
      ++word;
      continue;
    }
    command = known.front();
    name += " " + *word;
    words.erase(words.begin(), word + 1);
    word = words.begin();
  }
  return *command;
}

std::string missing_command(const CLI::App& command, const std::vector<std::string>& words) {
  std::vector<std::string> known;
  std::string list;
  for (const CLI::App* each : command.get_subcommands([](const CLI::App*) { return true; })) {
    known.push_back(each->get_name());
    list += (list.empty() ? "" : ", ") + each->get_name();
  }
  const auto word = std::ranges::find_if(words, [](const std::string& each) { return !each.starts_with("-"); });
  if (word == words.end()) return "a command is missing, one of " + list;
  const std::string near = nearest_word(*word, known);
  return text("no command \"", *word, "\"", near.empty() ? "; there are " + list : did_you_mean(near));
}

std::string unexpected_word(const CLI::App& app, const CLI::App& command) {
  std::vector<std::string> extras = app.remaining(true);
  // CLI11 hands them over in no particular order; a mistyped option tells more than the value behind it.
  const auto is_option = [](const std::string& word) { return word.starts_with("-"); };
  const auto option = std::ranges::find_if(extras, is_option);
  if (option == extras.end())
    return extras.empty() ? "an argument too many" : text("nothing expects the argument \"", extras.front(), "\"");
  std::vector<std::string> known;
  for (const CLI::App* owner : {&app, &command})
    for (const CLI::Option* each : owner->get_options())
      for (const std::string& name : each->get_lnames()) known.push_back("--" + name);
  const std::string name = option->substr(0, option->find('='));
  const std::string near = nearest_word(name, known);
  // Fields of the configuration are no options, but those who look for one find it.
  std::string field;
  if (const size_t word = name.find_first_not_of('-'); word != name.npos && std::ranges::count(known, "--set") > 0)
    field = nearest_path(name.substr(word));
  const bool hints_at_field = near.empty() && !field.empty();
  return text("no option ", name, did_you_mean(hints_at_field ? "--set " + field + "=VALUE" : near));
}

}  // namespace

std::string usage_message(const CLI::App& app, const CLI::ParseError& error, const std::vector<std::string>& words) {
  std::vector<std::string> rest = words;
  std::string name = "apotnet";
  const CLI::App& command = command_of(app, rest, name);
  std::string what = error.what();
  constexpr std::string_view kMissing = " missing";
  if (dynamic_cast<const CLI::ExtrasError*>(&error))
    what = unexpected_word(app, command);
  else if (dynamic_cast<const CLI::RequiredError*>(&error) && what.find("subcommand") != what.npos)
    what = missing_command(command, rest);
  else if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) && what.ends_with(kMissing))
    what = what.substr(0, what.find(": ")) + ": a value is missing behind it";
  return what + "; see " + name + " --help";
}

}  // namespace apotnet
