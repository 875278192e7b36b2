#pragma once
// A deployment as the scheduler-exact simulator runs it.
#include "cost/cost.h"
#include "memory/memory_plan.h"
#include "model/model.h"
#include "parallel/engine_args.h"
#include "parallel/engine_config.h"
#include "sim/simulate.h"
#include "workload/workload.h"

namespace shardwise {

/// Equal replicas of one engine.
struct Deployment {
  const Model& model;
  const EngineConfig& engine;
  const MemoryPlan& memory;
  const CompiledStep& step;
  int replicas = 1;
};

/// Engines, replicas and host costs for simulate(). `args`: what the scheduler sees beside the EngineConfig.
SimulationConfig simulation_config(const Deployment& deployment, const EngineArgs& args, const Workload& workload);

/// `workload` as it is simulated: `concurrency` requests in flight where no load is given, and in a closed loop
/// answers that vary by a tenth where all are said to be equal.
Workload simulated_workload(Workload workload, double concurrency);

}  // namespace shardwise
