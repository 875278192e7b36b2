#pragma once
// What serving costs a token, an hour and a month.
#include "app/answer.h"

namespace shardwise {

/// In USD where the GPUs have a price, else in GPU-hours.
struct Cost {
  bool usd = false;
  double per_hour = 0;                                                 ///< of all GPUs that the plan takes
  double per_million_output_tokens = 0, per_million_total_tokens = 0;  ///< total: prompts and answers
  double per_month = 0;                                                ///< of 730 hours
};

/// `plan` of a cluster of which `gpus_taken` are others'.
Cost cost_of(const Cluster& cluster, const std::vector<int>& gpus_taken, const Plan& plan, const Workload& workload);

}  // namespace shardwise
