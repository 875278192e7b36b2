#pragma once
// Types of the values that arguments and configurations of vLLM hold, as text, and what pydantic makes of a JSON value
// of such a type. A type is one of, or several behind each other with | between them:
//   int float str bool any null      numbers and texts may have bounds behind them: int>=1<=8, str#>=1 (length)
//   "word" 3 true                    this value
//   [T] {K:T} (T,U)                  a list, an object, a list of that many; lists and objects may have a length:
//   [T]#>=1
//   @Name                            a configuration of data/vllm/config_fields.csv
//   upper("A"|"B")                   one of these words in any case, kept as it stands here; AUTO is null
//   folded(T)                        T, in any case and with - for _
//   never                            nothing that JSON can say
#include <string>
#include <string_view>
#include <variant>

#include "base/version.h"
#include "config/json_fwd.h"

namespace shardwise {

/// Why a value is refused, and where in it: "pass_config.fuse_x".
struct ValueProblem {
  std::string path, message;
};

/// The value as vLLM of that version holds it ("32" of an int is 32), or why it is refused.
std::variant<Json, ValueProblem> coerce(std::string_view type, const Json& value, VllmVersion version);

/// The words that a type names, for messages: auto, fp8 ...
std::string words_of(std::string_view type);

}  // namespace shardwise
