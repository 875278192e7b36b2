#pragma once
// Numbers in text as Python, pydantic and vLLM's own parser read them.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/version.h"

namespace shardwise {

/// int("8"), int(" +1_000 "): digits, single _ between them, a sign, spaces around.
std::optional<std::int64_t> python_int(std::string_view text);
/// float("1e5"), float("inf"), float("1_0.5").
std::optional<double> python_float(std::string_view text);
/// python_int, and "32.0".
std::optional<std::int64_t> pydantic_int(std::string_view text);
/// vLLM's human_readable_int: python_int, 8k (8,000), 8K (8,192), 25.6k, 1M, 2G, 1T.
std::optional<std::int64_t> human_readable_int(std::string_view text);
/// Bare (unquoted) 80m, 8K inside JSON text become plain numbers, as vLLM allows in JSON arguments from 0.20.0 on.
std::string expand_json_numbers(std::string_view text);
inline constexpr VllmVersion kHumanNumbersInJson{0, 20, 0};

}  // namespace shardwise
