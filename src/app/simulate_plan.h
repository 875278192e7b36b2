#pragma once
// A plan under the scheduler-exact simulator: the same step times, the same KV blocks, requests one by one.
#include <memory>

#include "app/plan.h"
#include "sim/max_rate.h"
#include "sim/simulate.h"

namespace shardwise {

/// StepTime over compiled coefficients. Holds the coefficients alive.
class PlanStepTime : public StepTime {
 public:
  explicit PlanStepTime(std::shared_ptr<const CompiledStep> step) : step_(std::move(step)) {}
  Seconds step_time(std::span<const ScheduledChunk> batch) const override;
  /// Up to the largest captured size vLLM pads all ranks to the fullest one; a larger prompt step runs unpadded, and
  /// the experts see the tokens of all ranks together (v1/worker/dp_utils.py).
  Seconds lockstep_time(std::span<const std::span<const ScheduledChunk>> ranks) const override;
  Seconds stage_time(std::span<const ScheduledChunk> batch, int stages) const override;

 private:
  std::shared_ptr<const CompiledStep> step_;
};

/// The plan's engines, replicas and host costs for simulate().
SimulationConfig simulation_config(const PlanRequest& request, const Plan& plan);

/// The request's workload as it is simulated: with the load that the plan was chosen for where none is given, and in a
/// closed loop with answers that vary by a tenth where all are said to be equal.
Workload simulated_workload(const PlanRequest& request, const Plan& plan);

/// The plan with the means and percentiles of a simulated run in its estimate (intervals keep their relative width),
/// its score, and the SLOs it keeps. One replica alone carries its share of the load: replicas are equal and
/// independent. A trace runs on all of them. `find_max_rate`: without a load and with SLOs also the highest rate that
/// keeps them.
Plan simulated(const PlanRequest& request, const SearchRequest& search, Plan plan, bool find_max_rate);

/// Whether runs as long as a benchmark's take no time to speak of: up to 1,000 requests in flight a replica.
bool worth_simulating(const SearchResult& result);

/// Replaces the closed-form means and percentiles of the `count` best plans (filled up with the nearest misses), and of
/// some more whose scores are close, by simulated ones and ranks them again among themselves. Where SLOs
/// are given and no load is, each of them also gets the highest request rate that keeps the SLOs. Plans that were not
/// simulated follow in their old order.
void decide_by_simulation(const PlanRequest& request, const SearchRequest& search, SearchResult& result, int count);

}  // namespace shardwise
