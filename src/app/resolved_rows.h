#pragma once
// What was given, what vLLM makes of it, and why they differ.
#include <vector>

#include "app/answer.h"

namespace shardwise {

/// One row for every value that the layout, memory or speed of an engine hangs on. `why` is empty where vLLM takes the
/// value as given.
std::vector<ResolvedRow> resolved_rows(const EngineArgs& args, const Resolved& resolved, const ModelFacts& model,
                                       const NodeFacts& node);

}  // namespace shardwise
