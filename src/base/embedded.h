#pragma once
// The files of data/, linked into the binary.
#include <optional>
#include <string_view>
#include <vector>

namespace shardwise {

/// Text of data/NAME ("gpus/gpus.csv"), or nullopt if there is none. Lives as long as the program.
std::optional<std::string_view> embedded_file(std::string_view name);

/// Names of all embedded files that start with `prefix` ("models/"), sorted.
std::vector<std::string_view> embedded_files(std::string_view prefix);

}  // namespace shardwise
