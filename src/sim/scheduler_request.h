#pragma once
// One request inside the scheduler: vLLM's Request (v1/request.py) and what the KV managers keep per request.
#include <cstdint>
#include <utility>
#include <vector>

#include "sim/prefix_tree.h"

namespace shardwise {

/// Blocks of one request in one KV cache group.
struct GroupBlocks {
  std::vector<std::int32_t> blocks;  ///< by position; BlockPool::kNull where the tokens are no longer kept
  int num_cached = 0;                ///< leading blocks that were offered to the prefix cache
  bool tracked = false;              ///< num_cached counts (vLLM: the request is in num_cached_block)
  // Mamba in mode "align", and partial hits:
  int last_state = -1;     ///< index of the block that holds the previous step's state, -1 = none yet
  int num_retired = 0;     ///< leading blocks already given back
  bool allocated = false;  ///< has been given blocks of its own
  int partial_index = -1;  ///< block that a hit or the prompt's end shares in part, -1 = none
  std::int32_t partial_block = -1;
};

/// What every step touches comes first, on one cache line.
struct alignas(64) SchedulerRequest {
  enum class Status : std::uint8_t { unused, waiting, running, preempted, finished };
  enum class Finish : std::uint8_t { none, stop, length, abort };

  std::int32_t num_tokens = 0;           ///< known tokens: prompt and delivered outputs
  std::int32_t num_computed_tokens = 0;  ///< counts tokens in flight
  std::int32_t num_output_placeholders = 0;
  std::int32_t num_in_flight_tokens = 0;
  std::int32_t num_spec_tokens = 0;  ///< draft tokens waiting to be verified
  std::int32_t quick_until = 0;      ///< computed tokens below which a step needs no KV work
  std::int32_t num_prompt_tokens = 0;
  std::int32_t max_total_tokens = 0;  ///< num_tokens at which it stops: min(prompt + max_tokens, max_model_len)
  Status status = Status::unused;
  Finish finish = Finish::none;
  bool is_prefill_chunk = false;
  bool deferred = false;              ///< skipped by the last scan of the waiting queue
  std::int32_t num_stale_tokens = 0;  ///< in-flight tokens of before a preemption
  std::int32_t next_decode_eligible_step = 0;
  std::int32_t max_tokens = 0;
  std::int32_t eos_at = -1;  ///< output position that is EOS, -1 = never
  std::int32_t priority = 0;
  std::int32_t num_preemptions = 0;
  std::int32_t shared_prefix_boundary = 0;
  std::int32_t preloaded_tokens = 0;      ///< prompt tokens whose KV arrives from elsewhere at admission
  std::int32_t previous = -1, next = -1;  ///< waiting queue (fcfs)
  std::int64_t id = 0;
  double arrival_time = 0;
  std::int64_t order = 0;  ///< of admissions: the running queue is sorted by it
  // While it coasts (Scheduler::coast) the numbers above are those of an earlier pass:
  std::int32_t coast_start = 0;      ///< the last pass before it coasted
  std::int32_t coast_scheduled = 0;  ///< pass whose scheduling they hold
  std::int32_t coast_updated = 0;    ///< pass whose output they hold
  std::int32_t coast_place = -1;     ///< in Scheduler's list, -1 = does not coast

  std::int32_t cache_from = 0;    ///< computed tokens from which there is something to offer to the prefix cache
  std::int32_t window_until = 0;  ///< computed tokens up to which no block leaves a window
  std::vector<GroupBlocks> groups;
  // Instead of groups, with one full-attention group (RunCache):
  std::int32_t num_blocks = 0, num_cached_blocks = 0;
  std::vector<std::pair<std::int32_t, std::int32_t>> copies;  ///< blocks that have equals: index, tag
  // Texts, kept only with prefix caching.
  std::vector<PathStep> path;
  std::int32_t path_prompt_end = 0;  ///< where the outputs start on it: num_prompt_tokens, less what hashes look ahead
  std::int64_t output_first = 0;     ///< token id of output position 0; the following ones count up
  bool output_on_path = false;
  std::int32_t path_hint = 0;

  int num_output_tokens() const { return num_tokens - num_prompt_tokens; }
};

}  // namespace shardwise
