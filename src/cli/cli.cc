#include "cli/cli.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <exception>

#include "base/input_error.h"
#include "cli/command.h"

namespace shardwise {

Option& Option::required() { return option_->required(), *this; }
Option& Option::group(const std::string& heading) { return option_->group(heading), *this; }
Option& Option::shown_default(const std::string& text) { return option_->default_str(text), *this; }
Option& Option::positive() { return option_->check(CLI::PositiveNumber), *this; }
Option& Option::non_negative() { return option_->check(CLI::NonNegativeNumber), *this; }
Option& Option::between(double least, double most) { return option_->check(CLI::Range(least, most)), *this; }
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

/// What the user asked for, run; exceptions become messages and exit codes.
int run(const Handler& handler) {
  try {
    return handler();
  } catch (const InputError& e) {
    std::fprintf(stderr, "shardwise: %s\n", e.what());
    return kExitBadInput;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "shardwise: internal error: %s\n", e.what());
    return kExitInternal;
  }
}

}  // namespace

int run_cli(int argc, char** argv) {
  CLI::App app{
      "Plans tensor, data, pipeline and expert parallelism for vLLM: plans that vLLM accepts, that fit, and that are "
      "the best of all legal ones."};
  app.name("shardwise");
  app.set_version_flag("--version", SHARDWISE_VERSION);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::help);
  // What stands behind `--` belongs to vLLM and is cut off before CLI11 sees it.
  std::vector<std::string> own(argv + 1, argv + argc), vllm;
  if (const auto cut = std::find(own.begin(), own.end(), "--"); cut != own.end()) {
    vllm.assign(cut + 1, own.end());
    own.erase(cut, own.end());
  }
  std::vector<std::pair<CLI::App*, Handler>> handlers;
  for (const auto& row : commands()) {
    auto* sub = app.add_subcommand(std::string(row.name), std::string(row.about));
    handlers.emplace_back(sub, row.add(Command(sub), vllm));
  }
  try {
    std::reverse(own.begin(), own.end());
    app.parse(own);
  } catch (const CLI::CallForHelp& e) {
    return app.exit(e);
  } catch (const CLI::CallForVersion& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    std::fprintf(stderr, "shardwise: %s\n  run 'shardwise --help' or 'shardwise COMMAND --help'\n", e.what());
    return kExitBadInput;
  }
  for (const auto& [sub, handler] : handlers)
    if (sub->parsed()) return run(handler);
  return kExitBadInput;
}

}  // namespace shardwise
