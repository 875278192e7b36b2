#pragma once
// `simulate`: vLLM commands under a workload, step by step. One command, or one that prefills and one that decodes.
#include "app/simulation.h"

namespace shardwise {

/// Throws InputError if there are not enough GPUs, or the workload cannot be simulated.
SimulateAnswer simulate_command(const SimulateRequest& request);

}  // namespace shardwise
