// `verify arguments`: what vLLM's own parser says of argument lists.
#include <algorithm>

#include "base/input_error.h"
#include "config/json.h"
#include "parallel/argument_parser.h"
#include "verify/topics.h"

namespace shardwise {
namespace {

/// The recorded lists stand behind the model.
bool parser_takes(const std::vector<std::string>& words, VllmVersion version) {
  std::vector<std::string> argv = {"m"};
  argv.insert(argv.end(), words.begin(), words.end());
  try {
    const auto parsed = parse_arguments(argv, version);
    return std::all_of(parsed.given.begin(), parsed.given.end(),
                       [&](const ParsedArgument& argument) { return argument.row->versions.contains(version); });
  } catch (const InputError&) {
    return false;
  }
}

}  // namespace

VerifyTopic arguments_topic() {
  return {"arguments",
          "which argument lists vLLM's own parser takes (arguments.jsonl)",
          {"error"},
          [](const std::string&, const Json& input, VerifyModels&) -> Json {
            return {{"ok", parser_takes(input.at("argv").get<std::vector<std::string>>(), recorded_version(input))}};
          }};
}

}  // namespace shardwise
