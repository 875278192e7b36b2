#pragma once
// A benchmark run replayed on compiled step times: between the closed form (microseconds) and the scheduler-exact
// simulator (every step). Pure decode stretches are jumped to the next completion; steps with prompts are taken one by
// one.
#include <cstdint>
#include <vector>

#include "cost/compiled_step.h"

namespace shardwise {

struct ReplayRequest {
  double arrival = 0;                   ///< s; open loop only
  std::int64_t prompt = 1, output = 1;  ///< tokens
};

struct ReplayLimits {
  double max_num_batched_tokens = 8192, max_num_seqs = 1024;
  double kv_tokens = 1e18;          ///< what the cache of one rank holds
  double kv_fixed_per_request = 0;  ///< tokens' worth held by each request beside its own (block rounding, states)
  double prefix_share = 0;          ///< share of each prompt found in the cache
};

struct ReplayResult {
  double ttft = 0, tpot = 0, e2e = 0;  ///< means, s
  double ttft_p50 = 0, ttft_p90 = 0, ttft_p95 = 0, ttft_p99 = 0, tpot_p50 = 0, tpot_p90 = 0, tpot_p95 = 0, tpot_p99 = 0;
  double output_tokens_per_second = 0;  ///< of one rank, over the whole run
  double duration = 0;                  ///< s
  double running = 0, queue = 0;        ///< mean sequences in flight; mean wait for the first schedule, s
  double kv_peak = 0;                   ///< share of the cache
  std::int64_t steps = 0, preemptions = 0;
};

/// Closed loop when `concurrency` > 0 (a finished request starts the next), else by arrivals. Deterministic.
ReplayResult replay(const CompiledStepData& step, const ReplayLimits& limits,
                    const std::vector<ReplayRequest>& requests, int concurrency);

}  // namespace shardwise
