#pragma once
// A plan under the scheduler-exact simulator: the same step times, the same KV blocks, requests one by one.
#include <memory>

#include "app/plan.h"
#include "sim/simulate.h"

namespace shardwise {

/// StepTime over compiled coefficients. Holds the coefficients alive.
class PlanStepTime : public StepTime {
 public:
  explicit PlanStepTime(std::shared_ptr<const CompiledStep> step) : step_(std::move(step)) {}
  Seconds step_time(std::span<const ScheduledChunk> batch) const override;
  Seconds stage_time(std::span<const ScheduledChunk> batch, int stages) const override;

 private:
  std::shared_ptr<const CompiledStep> step_;
};

/// One replica's worth of the plan's engines and host costs for simulate().
SimulationConfig simulation_config(const PlanRequest& request, const Plan& plan);

struct SimulationOptions {
  std::int64_t requests = 0;  ///< how many; 0 = as simulate() chooses
  std::uint64_t seed = 0;
  std::int64_t record_steps = 0;  ///< kept for a Perfetto trace
};

/// Runs the plan under the request's workload (its chosen load where none is given). Deterministic for a seed.
SimulationResult simulate_plan(const PlanRequest& request, const Plan& plan, const SimulationOptions& options);

/// Replaces the closed-form means and percentiles of the `count` best plans (filled up with the nearest misses) by
/// simulated ones and ranks them again among themselves: percentile SLOs are then decided by the simulator. Plans that
/// were not simulated follow in their old order.
void decide_by_simulation(const PlanRequest& request, const SearchRequest& search, SearchResult& result, int count);

}  // namespace shardwise
