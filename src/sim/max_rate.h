#pragma once
// The highest request rate at which a deployment keeps its SLOs.
#include "sim/simulate.h"

namespace shardwise {

/// Long enough that a queue which grows by a few per cent shows.
inline constexpr Seconds kMaxRateRun{60};

struct MaxRate {
  std::optional<double> request_rate;  ///< requests/s; nullopt: not even the lowest rate tried keeps the SLOs
  double goodput_share = 0;            ///< of requests that meet every limit on their own, at that rate
  SimulationResult result;             ///< at that rate
  int simulations = 0;
  bool bounded = true;  ///< false: the SLOs held at the highest rate tried
};

/// Brackets the rate by doubling from `start` requests/s, then halves the bracket to within `tolerance` (relative) of
/// the answer. A rate holds if every SLO is kept and the deployment keeps up with it, over kMaxRateRun of arrivals (or
/// config.num_requests). Arrivals are the workload's (closed loop counts as Poisson; a trace's clock runs faster or
/// slower); its SLOs decide, percentile by percentile. Throws InputError if the workload has no SLO or a trace without
/// times.
MaxRate max_rate_under_slo(const SimulationConfig& config, const Workload& workload, const StepTime& step_time,
                           std::uint64_t seed, double start = 1, double tolerance = 0.02);

}  // namespace shardwise
