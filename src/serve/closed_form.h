#pragma once
// Serving as a fixed point over step times: microseconds, means and rough tails.
#include "cost/cost.h"
#include "memory/memory_plan.h"
#include "parallel/engine_config.h"
#include "serve/estimate.h"
#include "workload/workload.h"

namespace shardwise {

/// `data_parallel_size x replicas` equal engines share the load evenly. The load is workload.concurrency or
/// request_rate.
ServingEstimate estimate_serving(const CompiledStep& step, const MemoryPlan& memory, const EngineConfig& engine,
                                 int replicas, const Workload& workload);

}  // namespace shardwise
