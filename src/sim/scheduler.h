#pragma once
// vLLM's V1 scheduler (v1/core/sched/scheduler.py, async_scheduler.py), decision for decision, on plain numbers.
//
//   Scheduler s(config);
//   auto r = s.add({.id = 1, .prompt = runs, .max_tokens = 10, ...});
//   ScheduledStep step;              // reused from call to call
//   s.schedule(false, step);
//   s.update(step, [](const SchedulerRequest&, const ScheduledRow& row) { return accepted drafts; }, events);
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "sim/kv_cache.h"
#include "sim/scheduler_config.h"
#include "sim/scheduler_request.h"

namespace shardwise {

/// A request as it arrives. Token ids of the output count up from output_first.
struct NewRequest {
  std::int64_t id = 0;
  std::span<const TokenRun> prompt;
  int max_tokens = 1;
  int eos_at = -1;   ///< output position whose token is EOS, -1 = runs to max_tokens
  int priority = 0;  ///< lower first
  double arrival_time = 0;
  std::int64_t output_first = 0;
  int preloaded_tokens = 0;  ///< leading prompt tokens whose KV is brought in at admission (disaggregated prefill)
};

/// One request in one step.
struct ScheduledRow {
  std::int32_t request = -1;  ///< slot, see Scheduler::request
  std::int32_t tokens = 0;    ///< scheduled now, drafts included
  std::int32_t context = 0;   ///< num_computed_tokens before the step
  std::int16_t drafts = 0;    ///< of `tokens`
  bool emits = false;         ///< reaches the last known token, so it samples
  bool admitted = false;      ///< came from the waiting queue in this step
  bool decode = false;        ///< past its prompt: gets its next token (and verifies drafts)
};

struct ScheduledStep {
  std::vector<ScheduledRow> rows;       ///< running requests in order, then admitted ones
  std::vector<std::int32_t> preempted;  ///< slots, in order of preemption
  int total_tokens = 0;
  // Requests that coast (Scheduler::coast) are in no row:
  int coasting = 0;                   ///< so many, one token each
  std::int64_t coasting_context = 0;  ///< sum of their computed tokens before the step
  std::vector<std::int32_t> woken;    ///< slots that coasted until the step before and have rows again
  int number = 0;                     ///< of the scheduling pass
  std::size_t num_requests() const { return rows.size() + static_cast<std::size_t>(coasting); }
};

/// Prefix-cache counts in tokens, as vLLM's PrefixCacheStats; preempted_*: lookups of requests preempted before.
struct PrefixCacheCounts {
  std::int64_t requests = 0, queries = 0, hits = 0, preempted_requests = 0, preempted_queries = 0, preempted_hits = 0;
};

class Scheduler {
 public:
  explicit Scheduler(const SchedulerConfig& config);

  /// Returns the request's slot; it stays valid until the request has finished and its last batch was processed.
  std::int32_t add(const NewRequest& request);
  /// finish_requests(FINISHED_ABORTED). False if the slot holds no unfinished request. It must not coast.
  bool abort(std::int32_t slot);

  /// One scheduling pass. throttle_prefills: DP prefill balancing asks to hold prefills back.
  void schedule(bool throttle_prefills, ScheduledStep& step);

  /// Tokens that a row delivered when its batch was processed.
  struct Output {
    std::int32_t request = -1;
    std::int32_t row = 0;
    std::int32_t new_tokens = 0;  ///< delivered, after a stop cut them
    std::int32_t accepted = 0;    ///< drafts accepted, before a stop cut them
    bool finished = false;
    std::int32_t num_output_tokens = 0;  ///< of the request, these included
  };
  /// update_from_output. accepted(request, row) says how many of row.drafts hold; it is asked for every row that
  /// samples and has drafts. outputs: one for each row that samples, in order.
  template <class Accepted>
  void update(const ScheduledStep& step, Accepted&& accepted, std::vector<Output>& outputs) {
    outputs.clear();
    updated_ = step.number;
    for (std::size_t i = 0; i < step.rows.size(); ++i) {
      const ScheduledRow& row = step.rows[i];
      SchedulerRequest& r = requests_[row.request];
      if (!row.emits || r.status == SchedulerRequest::Status::finished) {
        settle(r, row);
        continue;
      }
      Output out{row.request, static_cast<std::int32_t>(i), 1, 0, false};
      if (row.drafts == 0 && r.num_stale_tokens == 0 && r.eos_at < 0 && r.num_tokens + 1 < r.max_total_tokens) {
        // What deliver() comes to for nearly every row.
        r.num_in_flight_tokens -= row.tokens;
        ++r.num_tokens;
        if (config_.async_scheduling) {
          --r.num_output_placeholders;
          if (r.status == Status::running) kv_.cache_blocks(r, r.num_computed_tokens - r.num_output_placeholders);
        } else if (caches_drafted_ && r.status == Status::running) {
          kv_.cache_blocks(r, r.num_computed_tokens - r.num_in_flight_tokens);
        }
      } else {
        if (row.drafts > 0) out.accepted = accepted(r, row);
        deliver(r, row, out);
      }
      out.num_output_tokens = r.num_output_tokens();
      outputs.push_back(out);
    }
    if (stopped_running_) remove_stopped();
  }
  /// Without async scheduling: num_speculative_tokens new drafts for the rows of a processed step.
  void set_drafts(const ScheduledStep& step);

  /// A decoding request whose next steps hold nothing to decide coasts: steps count it without a row until it nears its
  /// end or the cache runs short (ScheduledStep::woken). Decisions, and so all other rows, are the same as without. For
  /// a caller that asks after every update. False if the request has to stay listed.
  bool coast(std::int32_t slot);
  bool may_coast() const { return may_coast_; }  ///< whether any request of this configuration can
  /// Gives a step that is still in flight its rows for the requests that the newest step woke.
  void list_woken(const ScheduledStep& newest, ScheduledStep& in_flight) const;

  bool has_requests() const { return unfinished() > 0 || finished_since_schedule_; }
  int num_running() const { return static_cast<int>(running_.size() + coasting_.size()); }
  int num_waiting() const { return num_waiting_; }
  int unfinished() const { return num_running() + num_waiting_; }
  const SchedulerRequest& request(std::int32_t slot) const { return requests_[slot]; }
  std::span<const std::int32_t> running() const { return running_; }  ///< those that do not coast
  /// The waiting request that is looked at first; there must be one.
  std::int32_t first_waiting() const {
    return config_.policy == SchedulerConfig::Policy::fcfs ? waiting_head_ : heap_.front();
  }
  const SchedulerConfig& config() const { return config_; }
  const KvCache& kv() const { return kv_; }
  const PrefixCacheCounts& prefix_cache() const { return prefix_cache_; }
  std::int64_t num_preemptions() const { return num_preemptions_; }

 private:
  using Status = SchedulerRequest::Status;
  /// What one scheduling pass may still hand out.
  struct Budget {
    int tokens;        ///< max_num_scheduled_tokens
    int input;         ///< max_num_batched_tokens, drafting slots included
    int long_prefill;  ///< threshold in force, 0 = none
    bool defer_prefills;
    bool prefill_scheduled = false;
    bool prefill_admitted = false;
  };

  bool too_soon_to_prefill() const;
  void schedule_running(Budget& budget, ScheduledStep& step);
  void schedule_waiting(Budget& budget, ScheduledStep& step);
  enum class Admitted { yes, stop, skip };
  Admitted admit(std::int32_t slot, Budget& budget, ScheduledStep& step);
  std::int32_t choose_victim() const;
  void preempt(std::int32_t slot, std::size_t& index, Budget& budget, ScheduledStep& step);
  int mamba_split(const SchedulerRequest& r, int num_new_tokens, int hit_tokens) const;
  void after_schedule(ScheduledStep& step);
  void settle(SchedulerRequest& r, const ScheduledRow& row);
  void deliver(SchedulerRequest& r, const ScheduledRow& row, Output& out);
  void finish(SchedulerRequest& r, SchedulerRequest::Finish why);
  void remove_stopped();
  void release(SchedulerRequest& r);

  // Coasting (scheduler_coast.cc)
  void schedule_coasting(Budget& budget, ScheduledStep& step);
  bool coasting_is_plain(const Budget& budget, std::size_t due) const;
  void bring_up(SchedulerRequest& r) const;
  void next_event(const SchedulerRequest& r, int computed, int pass);
  void wake(std::int32_t slot, ScheduledStep& step);
  void wake_all(ScheduledStep& step);

  // Waiting queue
  bool before(std::int32_t a, std::int32_t b) const;
  void push_waiting(std::int32_t slot, bool front);
  void remove_waiting(std::int32_t slot);

  SchedulerConfig config_;
  int max_scheduled_tokens_, max_active_;
  int draft_slots_ = 0;  ///< extra input slots that drafting takes per request
  int spec_tokens_ = 0;
  bool caches_drafted_ =
      false;  ///< speculating without asynchronous scheduling, from 0.33 on: outputs are cached at once
  bool split_for_mamba_ = false, mamba_partial_hits_ = false;
  int scheduler_block_size_, hash_block_size_;
  KvCache kv_;
  std::vector<SchedulerRequest> requests_;
  std::vector<std::int32_t> free_slots_;
  std::vector<std::int32_t> running_;
  std::int32_t waiting_head_ = -1, waiting_tail_ = -1;  ///< fcfs: a list through the requests
  std::vector<std::int32_t> heap_;                      ///< priority
  std::vector<std::int32_t> skipped_;
  int num_waiting_ = 0, num_deferred_ = 0;
  int step_ = 0, updated_ = 0;            ///< scheduling passes; the one whose output came last
  int executed_steps_ = 0;                ///< scheduling passes that scheduled tokens
  std::optional<int> last_prefill_step_;  ///< executed_steps_ of the last that prefilled
  std::int64_t admissions_ = 0;
  bool may_coast_ = false;
  std::vector<std::int32_t> coasting_;
  std::int64_t coasting_context_ = 0;              ///< before the next pass
  std::int64_t youngest_coasting_ = 0;             ///< no coasting request was admitted later
  int listed_until_ = 0;                           ///< pass up to which all stay listed: the cache is nearly full
  std::vector<std::vector<std::int32_t>> events_;  ///< ring by pass: coasting requests to look at
  int least_block_ = 0;                            ///< tokens
  bool capacity_bound_ = false;
  bool finished_since_schedule_ = false;
  bool stopped_running_ = false;
  PrefixCacheCounts prefix_cache_;
  std::int64_t num_preemptions_ = 0;
};

}  // namespace shardwise
