#pragma once
// What reading and writing arguments share.
#include <string>
#include <string_view>

namespace shardwise {

/// tensor_parallel_size -> --tensor-parallel-size
std::string dashed(std::string_view name);

}  // namespace shardwise
