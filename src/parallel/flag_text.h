#pragma once
// What reading and writing arguments share.
#include <optional>
#include <string>
#include <string_view>

namespace shardwise {

/// tensor_parallel_size -> --tensor-parallel-size
std::string dashed(std::string_view name);
/// A whole word as a number; nullopt if it is none.
std::optional<double> to_number(std::string_view text);

}  // namespace shardwise
