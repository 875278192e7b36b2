#include "cli/cli.h"

#include <cstdio>
#include <exception>

#include "base/input_error.h"
#include "cli/commands.h"

namespace shardwise {

int run_cli(int argc, char** argv) {
  CLI::App app{
      "Plans tensor, data, pipeline and expert parallelism for vLLM: plans that vLLM accepts, that fit, and that are "
      "the best of all legal ones."};
  app.name("shardwise");
  app.set_version_flag("--version", SHARDWISE_VERSION);
  app.require_subcommand(1);
  app.failure_message(CLI::FailureMessage::help);
  // What stands behind `--` belongs to vLLM and is cut off before CLI11 sees it.
  CommandLine line;
  int count = 1;
  for (; count < argc; ++count) {
    if (std::string_view(argv[count]) == "--") break;
    line.own.emplace_back(argv[count]);
  }
  for (int i = count + 1; i < argc; ++i) line.vllm.emplace_back(argv[i]);

  std::vector<std::function<int()>> handlers;
  for (const auto& add : commands()) add(app, line, handlers);
  try {
    std::vector<std::string> reversed(line.own.rbegin(), line.own.rend());
    app.parse(reversed);
  } catch (const CLI::CallForHelp& e) {
    return app.exit(e);
  } catch (const CLI::CallForVersion& e) {
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    std::fprintf(stderr, "shardwise: %s\n  run 'shardwise --help' or 'shardwise COMMAND --help'\n", e.what());
    return kExitBadInput;
  }
  try {
    for (std::size_t i = 0; i < handlers.size(); ++i)
      if (app.get_subcommands([](CLI::App* s) { return s->parsed(); }).front() ==
          app.get_subcommand(static_cast<int>(i)))
        return handlers[i]();
  } catch (const InputError& e) {
    std::fprintf(stderr, "shardwise: %s\n", e.what());
    return kExitBadInput;
  } catch (const std::exception& e) {
    std::fprintf(stderr, "shardwise: internal error: %s\n", e.what());
    return kExitInternal;
  }
  return kExitBadInput;
}

}  // namespace shardwise
