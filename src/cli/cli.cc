#include "cli/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <exception>
#include <sstream>

#include "base/input_error.h"
#include "base/printable.h"
#include "base/text.h"
#include "base/version.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "config/json.h"
#include "config/quantity.h"
#include "config/write_file.h"
#include "parallel/engine_args.h"

namespace shardwise {

Option& Option::required() { return option_->required(), *this; }
Option& Option::group(const std::string& heading) { return option_->group(heading), *this; }
Option& Option::shown_default(const std::string& text) { return option_->default_str(text), *this; }
Option& Option::between(double least, double most) {
  const auto range = number_text(least) + " to " + number_text(most);
  const auto check = [least, most, range](const std::string& text) {
    double value = 0;
    const bool in = parse_number(text, value) && value >= least && value <= most;
    return in ? std::string() : "'" + printable(text.substr(0, 40)) + "' is out of range (from " + range + ")";
  };
  return option_->check(CLI::Validator(check, "in [" + range + "]")), *this;
}
Option& Option::one_of(const std::vector<std::string>& words) { return option_->check(CLI::IsMember(words)), *this; }
Option& Option::existing_file() { return option_->check(CLI::ExistingFile), *this; }
Option& Option::comma_separated() { return option_->delimiter(','), *this; }
Option& Option::one_value_each() { return option_->allow_extra_args(false), *this; }

template <class T>
Option Command::option(const std::string& names, T& value, const std::string& doc) {
  return Option(app_->add_option(names, value, doc));
}
template Option Command::option(const std::string&, std::string&, const std::string&);
template Option Command::option(const std::string&, std::optional<std::string>&, const std::string&);
template Option Command::option(const std::string&, int&, const std::string&);
template Option Command::option(const std::string&, unsigned&, const std::string&);
template Option Command::option(const std::string&, std::int64_t&, const std::string&);
template Option Command::option(const std::string&, std::uint64_t&, const std::string&);
template Option Command::option(const std::string&, std::optional<int>&, const std::string&);
template Option Command::option(const std::string&, std::optional<std::int64_t>&, const std::string&);
template Option Command::option(const std::string&, std::optional<std::uint64_t>&, const std::string&);
template Option Command::option(const std::string&, double&, const std::string&);
template Option Command::option(const std::string&, std::vector<std::string>&, const std::string&);
template Option Command::option(const std::string&, std::vector<int>&, const std::string&);

Option Command::flag(const std::string& names, bool& value, const std::string& doc) {
  return Option(app_->add_flag(names, value, doc));
}
void Command::footer(const std::string& text) { app_->footer(text); }
void Command::take_others() { app_->allow_extras(); }
std::vector<std::string> Command::others() const { return app_->remaining(); }

namespace {

/// Who asked for JSON gets JSON when there is no answer, too (docs/formats/schema/error.schema.json).
int fail(bool json, int code, const Json& error, const std::string& text) {
  if (json) {
    const Json answer = {{"schema", "shardwise.error/1"}, {"error", error}, {"exit_code", code}};
    print(answer.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
  }
  tell(text);
  return code;
}

Json error_json(const InputError& e) {
  Json error = {{"message", e.message}};
  if (!e.file.empty()) error["input"] = e.file;
  if (e.line) error["line"] = *e.line;
  if (!e.path.empty()) error["path"] = e.path;
  if (!e.hint.empty()) error["instead"] = e.hint;
  return error;
}

/// A word of a command's that none of its options takes, with the words behind it that are its values.
struct StrayWords {
  std::vector<std::string> flags, own;  ///< own: the command line without them
};

StrayWords stray_words(const std::vector<std::string>& words, const CLI::App& sub) {
  StrayWords out;
  bool stray = false;
  for (const auto& word : words) {
    if (word.starts_with('-')) {
      const auto name = word.substr(0, word.find('='));
      stray = name.size() > 1 && !sub.get_option_no_throw(name);
    }
    (stray ? out.flags : out.own).push_back(word);
  }
  return out;
}

/// What to write where a command has words that it does not take: vLLM's flags stand behind `--`.
std::string stray_hint(const StrayWords& words, const CLI::App& sub, const std::vector<std::string>& vllm) {
  if (words.flags.empty()) return "run 'shardwise " + sub.get_name() + " --help'";
  try {
    auto flags = words.flags;
    flags.insert(flags.end(), vllm.begin(), vllm.end());
    parse_vllm_flags(behind_model("MODEL", flags), kDefaultVllmVersion);
    return "vLLM's own flags stand behind --: shardwise " + join(words.own, " ") + " -- " + join(flags, " ");
  } catch (const InputError&) {
  }
  std::vector<std::string> names;
  for (const auto* option : sub.get_options())
    for (const auto& name : option->get_lnames()) names.push_back("--" + name);
  const auto hint = did_you_mean(words.flags.front(), names);
  return hint.empty() ? "run 'shardwise " + sub.get_name() + " --help'" : hint;
}

/// What the user asked for, run; exceptions become messages and exit codes.
int run(const Handler& handler, bool json) {
  try {
    return handler();
  } catch (const InputError& e) {
    return fail(json, kExitBadInput, error_json(e), e.what());
  } catch (const OutputError& e) {
    if (e.reason == EPIPE) throw;
    return fail(json, kExitNotWritten, {{"message", e.what()}}, e.what());
  } catch (const std::exception& e) {
    return fail(json, kExitInternal, {{"message", e.what()}}, std::string("internal error: ") + e.what());
  }
}

/// --help and --version, and what CLI11 says of a command line.
int say(const CLI::App& app, const CLI::ParseError& e) {
  std::ostringstream out, err;
  const int code = app.exit(e, out, err);
  print(out.str());
  return code;
}

int run_words(std::vector<std::string> own) {
  CLI::App app{
      "Plans tensor, data, pipeline and expert parallelism for vLLM: plans that vLLM accepts, that fit, and that are "
      "the best of all legal ones."};
  app.name("shardwise");
  app.set_version_flag("--version", SHARDWISE_VERSION);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::help);
  // What stands behind `--` belongs to vLLM and is cut off before CLI11 sees it.
  std::vector<std::string> vllm;
  if (const auto cut = std::find(own.begin(), own.end(), "--"); cut != own.end()) {
    vllm.assign(cut + 1, own.end());
    own.erase(cut, own.end());
  }
  const bool json = std::find(own.begin(), own.end(), "--json") != own.end();
  const auto words = own;
  std::vector<std::pair<CLI::App*, Handler>> handlers;
  for (const auto& row : commands()) {
    auto* sub = app.add_subcommand(std::string(row.name), std::string(row.about));
    handlers.emplace_back(sub, row.add(Command(sub), vllm));
  }
  try {
    std::reverse(own.begin(), own.end());
    app.parse(own);
  } catch (const CLI::CallForHelp& e) {
    return say(app, e);
  } catch (const CLI::CallForVersion& e) {
    return say(app, e);
  } catch (const CLI::ExtrasError& e) {
    for (const auto& [sub, handler] : handlers) {
      if (!sub->parsed()) continue;
      const auto stray = stray_words(words, *sub);
      const auto& what = stray.flags.empty() ? sub->remaining() : stray.flags;
      const InputError error(sub->get_name(), 0, "", "takes no " + (what.empty() ? "such word" : what.front()),
                             stray_hint(stray, *sub, vllm));
      return fail(json, kExitBadInput, error_json(error), error.what());
    }
    return fail(json, kExitBadInput, {{"message", e.what()}}, e.what());
  } catch (const CLI::ParseError& e) {
    return fail(json, kExitBadInput, {{"message", e.what()}},
                e.what() + std::string("\n  run 'shardwise --help' or 'shardwise COMMAND --help'"));
  }
  for (const auto& [sub, handler] : handlers)
    if (sub->parsed()) return run(handler, json);
  return kExitBadInput;
}

}  // namespace

int run_cli(int argc, char** argv) {
  prepare_output();
  try {
    return run_words({argv + 1, argv + argc});
  } catch (const OutputError& e) {  // standard output; a reader that went away knows
    if (e.reason != EPIPE) tell(e.what());
    return kExitNotWritten;
  }
}

}  // namespace shardwise
