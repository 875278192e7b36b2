#pragma once
// A plan under the scheduler-exact simulator: the same step times, the same KV blocks, requests one by one.
#include "app/answer.h"

namespace shardwise {

/// The plan with the means and percentiles of a simulated run in its estimate (intervals keep their relative width),
/// its score, and the SLOs it keeps. One replica alone carries its share of the load: replicas are equal and
/// independent. A trace runs on all of them. `find_max_rate`: without a load and with SLOs also the highest rate that
/// keeps them.
Plan simulated(const PlanRequest& request, const SearchRequest& search, Plan plan, bool find_max_rate);

/// Whether a run is short enough: up to 20,000 requests in flight a replica. Beyond, the closed form answers.
bool worth_simulating(const Plan& plan);

/// Keeps the best plans of `count` shapes (filled up with the nearest misses), and some more whose scores are close,
/// with means and percentiles of simulated runs, and ranks them again. Where SLOs are given and no load is, each of
/// them also gets the highest request rate that keeps the SLOs.
void decide_by_simulation(const PlanRequest& request, const SearchRequest& search, SearchResult& result,
                          std::size_t count);

}  // namespace shardwise
