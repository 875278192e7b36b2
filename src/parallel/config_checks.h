#pragma once
// What the configurations that arguments hold check beside the types of their fields (validators and __post_init__).
#include <optional>
#include <string>
#include <string_view>

#include "base/version.h"
#include "config/json_fwd.h"

namespace shardwise {

/// Why vLLM of that version refuses a configuration whose given fields have the right types; nullopt = it does not.
std::optional<std::string> config_problem(std::string_view config, const Json& given, VllmVersion version);

}  // namespace shardwise
