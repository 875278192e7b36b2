#pragma once
// vLLM's own argument parser, by version: Python's argparse (unique prefixes, --x=v, -n2, nargs, choices) below vLLM's
// FlexibleArgumentParser (underscores, -O3, dotted keys that are merged into JSON), over the rows of parser_table.h.
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "parallel/parser_table.h"

namespace shardwise {

/// One argument that was given. Words are as vLLM reads them: JSON of a configuration is coerced and compact.
struct ParsedArgument {
  const ArgumentRow* row = nullptr;  ///< of the version, or the newest of another one
  bool off = false;                  ///< spelled so that it says no
  std::vector<std::string> words;    ///< empty where the word is no value
};

struct ParsedArguments {
  std::optional<std::string> model;
  std::vector<ParsedArgument> given;
  bool help = false;  ///< --help was read: vLLM prints it and does no more
  /// Arguments of no version that was read, as spelled, with the words behind them: only if the version is newer than
  /// all.
  std::vector<std::pair<std::string, std::vector<std::string>>> unknown;
};

/// `argv`: what stands behind `vllm serve`. Throws InputError (file "vllm serve") on what the parser refuses. An
/// argument that only other versions have is no error: its row does not hold for the version.
ParsedArguments parse_arguments(std::span<const std::string> argv, VllmVersion version);

}  // namespace shardwise
