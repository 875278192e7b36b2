#pragma once
// One function a command: adds its options to the app and a handler that runs it. To add a command, write
// src/cli/NAME_command.cc and a line in commands.cc.
#include <CLI/CLI.hpp>
#include <functional>
#include <string>
#include <vector>

namespace shardwise {

// Exit codes; docs/exit_codes.md.
inline constexpr int kExitFound = 0;  ///< a plan stands; the command starts; all cases agree
inline constexpr int kExitNo = 1;     ///< a clear no: nothing fits, vLLM refuses, SLO or rate not kept, cases disagree
inline constexpr int kExitBadInput = 2;   ///< the question itself cannot be read
inline constexpr int kExitInternal = 70;  ///< a bug

struct CommandLine {
  std::vector<std::string> own;   ///< before `--`
  std::vector<std::string> vllm;  ///< behind it
};

using AddCommand = void (*)(CLI::App& app, const CommandLine& line, std::vector<std::function<int()>>& handlers);
/// In the order of --help; handlers are added in the same order as subcommands.
const std::vector<AddCommand>& commands();

}  // namespace shardwise
