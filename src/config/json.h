#pragma once
// JSON text <-> values. The only header that names the JSON library; layers that merely hold JSON include json_fwd.h.
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "config/json_fwd.h"

namespace shardwise {

/// Parses JSON text (// and /* */ comments are errors, as in every JSON reader). Bad text is an InputError with file
/// and line.
Json parse_json(std::string_view text, const std::string& file);

/// Like parse_json, for text that Python wrote: NaN and Infinity, which JSON has not, become null.
Json parse_python_json(std::string_view text, const std::string& file);

}  // namespace shardwise
