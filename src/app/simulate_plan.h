#pragma once
// A plan under the scheduler-exact simulator: the same step times, the same KV blocks, requests one by one.
#include "app/answer.h"

namespace shardwise {

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
