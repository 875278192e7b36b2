#pragma once
// The nodes behind recorded cases.
#include <string>

#include "config/json_fwd.h"
#include "parallel/resolve.h"

namespace shardwise {

/// {"gpu", "gpus", "ray_installed"}.
NodeFacts recorded_node(const Json& node);
NodeFacts recorded_node(const std::string& gpu, int gpus);  ///< "H100", "B200" ...
NodeFacts recorded_node(int compute_capability, int gpus);  ///< of the cases that name no GPU

/// Sizes and switches of a layout, by vLLM's names; what is not there is at vLLM's default.
ParallelConfig recorded_parallel(const Json& args);

/// "compute_capability" of a case: 90 for "9.0", also where it names none.
int recorded_capability(const Json& input);

}  // namespace shardwise
