#pragma once
#include <cstddef>

namespace shardwise {

using Index = std::size_t;
/// Counts of experts, ranks and replicas are ints; containers want their own type.
inline Index at(int i) { return static_cast<Index>(i); }

}  // namespace shardwise
