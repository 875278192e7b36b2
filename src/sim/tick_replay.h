#pragma once
// Plays EngineCore around the scheduler without a clock: one tick is one EngineCore.step, or step_with_batch_queue when
// several batches may be in flight. For comparison with recorded traces of real vLLM.
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "sim/scheduler.h"

namespace shardwise {

struct TickRequest {
  std::int64_t id = 0;
  std::vector<TokenRun> prompt;
  int max_tokens = 1;
  int eos_at = -1;
  int priority = 0;
  int arrive = 0;  ///< tick; not used with `concurrency`
  std::int64_t output_first = 0;
};

struct TickWorkload {
  SchedulerConfig config;
  std::vector<TickRequest> requests;
  std::optional<int> concurrency;                    ///< closed loop
  bool arrival_is_tick = false;                      ///< arrival_time = tick, instead of tick + id * 1e-4
  std::vector<std::pair<int, std::int64_t>> aborts;  ///< tick, request id
  std::vector<int> accept;                           ///< accepted drafts, cycled over a request's verify steps
  int max_ticks = 20000;
};

/// What happened in one tick. Lists are by request id.
struct TickRecord {
  int tick = 0;
  std::vector<std::int64_t> added, aborted;
  bool scheduled = false, updated = false;
  int schedule_call = 0, updated_call = 0;  ///< numbers, for several batches in flight
  std::vector<std::int64_t> ids;
  std::vector<int> tokens, context, drafts;
  bool has_drafts = false;
  std::vector<std::int64_t> admitted_new, resumed, preempted;
  int free_after_schedule = 0, running = 0, waiting = 0;
  std::vector<int> accepted;  ///< per row of the processed step
  std::vector<std::int64_t> finished;
  int free_after_update = 0;
};

struct TickOutcome {
  std::int64_t id = 0;
  int first_scheduled = -1, first_token = -1, finished = -1;  ///< ticks, -1 = never
  int preemptions = 0, first_hit = 0;
  std::string finish_reason = "none";
};

struct TickSummary {
  int schedule_calls = 0;
  std::int64_t scheduled_tokens = 0, preemptions = 0;
  PrefixCacheCounts prefix_cache;
  std::vector<std::int64_t> unfinished;
  std::vector<TickOutcome> requests;  ///< in the order of the workload
  int batch_queue_size = 1;
};

/// Calls on_tick for every tick in which something happened.
TickSummary replay_ticks(const TickWorkload& workload, const std::function<void(const TickRecord&)>& on_tick);

}  // namespace shardwise
