#include "sim/scheduler.h"

#include <algorithm>
#include <cassert>
#include <string>

namespace shardwise {

Scheduler::Scheduler(const SchedulerConfig& config)
    : config_(config),
      max_scheduled_tokens_(config.max_num_scheduled_tokens.value_or(config.max_num_batched_tokens)),
      max_active_(config.max_num_active_seqs.value_or(config.max_num_seqs)),
      scheduler_block_size_(config.scheduler_block_size()),
      hash_block_size_(config.hash_block_size()),
      kv_(config) {
  using Kind = SchedulerConfig::KvGroup::Kind;
  if (config.speculation != SchedulerConfig::Speculation::none) spec_tokens_ = config.num_speculative_tokens;
  if (config.speculation == SchedulerConfig::Speculation::draft_model) draft_slots_ = 1;
  caches_drafted_ = config.since_0_33() && spec_tokens_ > 0 && !config.async_scheduling;
  bool fine = true;
  for (const auto& g : config.kv_groups) {
    split_for_mamba_ |= g.kind == Kind::mamba && g.mamba_align;
    fine &= g.kind == Kind::full || g.kind == Kind::mamba || config.tokens_per_block(g) == hash_block_size_;
  }
  may_coast_ = config.policy == SchedulerConfig::Policy::fcfs && !config.enable_prefix_caching && spec_tokens_ == 0 &&
               config.pipeline_parallel_size == 1 && kv_.quick();
  for (const auto& g : config.kv_groups)
    least_block_ = least_block_ ? std::min(least_block_, config.tokens_per_block(g)) : config.tokens_per_block(g);
  mamba_partial_hits_ = split_for_mamba_ && fine && hash_block_size_ < scheduler_block_size_ &&
                        config.enable_prefix_caching && config.kv_groups.size() > 1;
}

std::int32_t Scheduler::add(const NewRequest& n) {
  std::int32_t slot;
  if (free_slots_.empty()) {
    slot = static_cast<std::int32_t>(requests_.size());
    requests_.emplace_back();
  } else {
    slot = free_slots_.back();
    free_slots_.pop_back();
  }
  SchedulerRequest& r = requests_[slot];
  std::int64_t prompt = 0;
  for (const TokenRun& run : n.prompt) prompt += run.count;
  assert(prompt > 0 && prompt <= config_.max_model_len);
  r.num_tokens = r.num_prompt_tokens = static_cast<std::int32_t>(prompt);
  r.num_computed_tokens = r.num_output_placeholders = r.num_in_flight_tokens = r.num_spec_tokens = r.quick_until = 0;
  r.num_stale_tokens = r.next_decode_eligible_step = r.num_preemptions = r.shared_prefix_boundary = 0;
  r.max_tokens = n.max_tokens;
  r.max_total_tokens = std::min(r.num_prompt_tokens + n.max_tokens, config_.max_model_len);
  r.eos_at = n.eos_at;
  r.priority = n.priority;
  r.preloaded_tokens = n.preloaded_tokens;
  r.id = n.id;
  r.arrival_time = n.arrival_time;
  r.output_first = n.output_first;
  r.status = Status::waiting;
  r.finish = SchedulerRequest::Finish::none;
  r.is_prefill_chunk = r.deferred = false;
  kv_.open(r, n.prompt);
  push_waiting(slot, false);
  return slot;
}

// Request.__lt__: priority, arrival time, request id as text.
bool Scheduler::before(std::int32_t a, std::int32_t b) const {
  const SchedulerRequest &x = requests_[a], &y = requests_[b];
  if (x.priority != y.priority) return x.priority < y.priority;
  if (x.arrival_time != y.arrival_time) return x.arrival_time < y.arrival_time;
  return std::to_string(x.id) < std::to_string(y.id);
}

void Scheduler::push_waiting(std::int32_t slot, bool front) {
  ++num_waiting_;
  if (config_.policy == SchedulerConfig::Policy::priority) {
    heap_.push_back(slot);
    std::push_heap(heap_.begin(), heap_.end(), [&](auto a, auto b) { return before(b, a); });
    return;
  }
  SchedulerRequest& r = requests_[slot];
  r.previous = front ? -1 : waiting_tail_;
  r.next = front ? waiting_head_ : -1;
  (r.previous < 0 ? waiting_head_ : requests_[r.previous].next) = slot;
  (r.next < 0 ? waiting_tail_ : requests_[r.next].previous) = slot;
}

void Scheduler::remove_waiting(std::int32_t slot) {
  --num_waiting_;
  if (config_.policy == SchedulerConfig::Policy::priority) {
    const auto later = [&](auto a, auto b) { return before(b, a); };
    if (heap_.front() == slot) {
      std::pop_heap(heap_.begin(), heap_.end(), later);
      heap_.pop_back();
    } else {
      heap_.erase(std::find(heap_.begin(), heap_.end(), slot));
      std::make_heap(heap_.begin(), heap_.end(), later);
    }
    return;
  }
  const SchedulerRequest& r = requests_[slot];
  (r.previous < 0 ? waiting_head_ : requests_[r.previous].next) = r.next;
  (r.next < 0 ? waiting_tail_ : requests_[r.next].previous) = r.previous;
}

void Scheduler::schedule(bool throttle_prefills, ScheduledStep& step) {
  ++step_;
  step.rows.clear();
  step.preempted.clear();
  step.woken.clear();
  step.total_tokens = step.coasting = 0;
  step.coasting_context = 0;
  step.number = step_;
  kv_.step_starts();
  const auto decodes = [&](std::int32_t slot) { return !requests_[slot].is_prefill_chunk; };
  Budget budget{max_scheduled_tokens_, config_.max_num_batched_tokens, 0,
                (throttle_prefills || too_soon_to_prefill()) && !capacity_bound_ &&
                    (!coasting_.empty() || std::any_of(running_.begin(), running_.end(), decodes))};
  const int eligible = num_running() + num_waiting_;
  if (eligible > 1) budget.long_prefill = config_.long_prefill_token_threshold;
  if (budget.long_prefill > 0 && config_.long_prefill_token_threshold_adaptive)
    budget.long_prefill = std::max(budget.long_prefill, budget.input / eligible);

  if (!coasting_.empty()) schedule_coasting(budget, step);
  schedule_running(budget, step);
  if (step.preempted.empty()) {
    schedule_waiting(budget, step);
    if (!budget.defer_prefills) capacity_bound_ = num_waiting_ > num_deferred_;
  }
  kv_.step_ends();
  executed_steps_ += !step.rows.empty() || step.coasting > 0;
  if (budget.prefill_scheduled || budget.prefill_admitted) last_prefill_step_ = executed_steps_;
  after_schedule(step);
  finished_since_schedule_ = false;
}

/// The engine's own cadence of prefills, which 0.33 brought.
bool Scheduler::too_soon_to_prefill() const {
  const int interval = config_.since_0_33() ? config_.prefill_schedule_interval : 1;
  return interval > 1 && last_prefill_step_ && executed_steps_ + 1 - *last_prefill_step_ < interval;
}

void Scheduler::schedule_running(Budget& budget, ScheduledStep& step) {
  for (std::size_t i = 0; i < running_.size() && budget.tokens > 0 && budget.input > draft_slots_;) {
    const std::int32_t slot = running_[i];
    SchedulerRequest& r = requests_[slot];
    // Async: the step in flight already reaches max_tokens.
    const bool done_in_flight =
        r.num_output_placeholders > 0 &&
        r.num_computed_tokens + 2 - r.num_output_placeholders >= r.num_prompt_tokens + r.max_tokens;
    if (done_in_flight || step_ < r.next_decode_eligible_step || (budget.defer_prefills && r.is_prefill_chunk)) {
      ++i;
      continue;
    }
    int tokens = r.num_tokens + r.num_spec_tokens + r.num_output_placeholders - r.num_computed_tokens;
    if (budget.long_prefill > 0) tokens = std::min(tokens, budget.long_prefill);
    tokens = std::min(std::min(tokens, budget.tokens),
                      std::min(budget.input - draft_slots_, config_.max_model_len - r.num_computed_tokens - 1));
    if (split_for_mamba_) tokens = mamba_split(r, tokens, 0);
    if (tokens <= 0) {
      ++i;
      continue;
    }
    bool fits;
    while (!(fits = kv_.allocate(r, tokens))) {
      const std::int32_t victim = choose_victim();
      preempt(victim, i, budget, step);
      if (victim == slot) break;
    }
    if (!fits) {
      // From 0.33 on the lowest priority making room for itself does not hold up the ones after it.
      if (config_.since_0_33() && config_.policy == SchedulerConfig::Policy::priority) continue;
      break;
    }
    ScheduledRow row{slot, tokens, r.num_computed_tokens, 0, false, false};
    budget.prefill_scheduled |= r.is_prefill_chunk;
    budget.tokens -= tokens;
    budget.input -= tokens + draft_slots_;
    if (r.num_spec_tokens > 0) {
      const int drafts = tokens + r.num_computed_tokens - r.num_tokens - r.num_output_placeholders;
      if (drafts > 0) row.drafts = static_cast<std::int16_t>(std::min(drafts, r.num_spec_tokens));
      r.num_spec_tokens = 0;
    }
    step.rows.push_back(row);
    ++i;
  }
}

std::int32_t Scheduler::choose_victim() const {
  if (config_.policy == SchedulerConfig::Policy::fcfs) return running_.back();
  std::int32_t victim = running_.front();
  for (const std::int32_t slot : running_) {
    const SchedulerRequest &r = requests_[slot], &v = requests_[victim];
    if (r.priority > v.priority || (r.priority == v.priority && r.arrival_time > v.arrival_time)) victim = slot;
  }
  return victim;
}

/// `index`: place in `running` that is being scheduled; it moves when an earlier one goes.
void Scheduler::preempt(std::int32_t slot, std::size_t& index, Budget& budget, ScheduledStep& step) {
  SchedulerRequest& r = requests_[slot];
  if (config_.policy == SchedulerConfig::Policy::fcfs) {
    running_.pop_back();
  } else {
    const auto at = std::find(running_.begin(), running_.end(), slot);
    if (static_cast<std::size_t>(at - running_.begin()) < index) --index;
    running_.erase(at);
    const auto row =
        std::find_if(step.rows.begin(), step.rows.end(), [&](const ScheduledRow& x) { return x.request == slot; });
    if (row != step.rows.end()) {
      budget.tokens += row->tokens;
      budget.input += row->tokens + draft_slots_;
      step.rows.erase(row);
    }
  }
  kv_.free(r);
  r.status = Status::preempted;
  r.num_computed_tokens = r.num_spec_tokens = r.num_output_placeholders = 0;
  r.num_stale_tokens = r.num_in_flight_tokens;
  ++r.num_preemptions;
  ++num_preemptions_;
  push_waiting(slot, true);
  step.preempted.push_back(slot);
}

void Scheduler::schedule_waiting(Budget& budget, ScheduledStep& step) {
  skipped_.clear();
  while (budget.tokens > 0 && num_waiting_ > 0 && budget.input > draft_slots_ && num_running() < max_active_) {
    const std::int32_t slot = first_waiting();
    const Admitted admitted = admit(slot, budget, step);
    if (admitted == Admitted::stop) break;
    remove_waiting(slot);
    SchedulerRequest& r = requests_[slot];
    if (r.deferred != (admitted == Admitted::skip)) {
      r.deferred = !r.deferred;
      num_deferred_ += r.deferred ? 1 : -1;
    }
    if (admitted == Admitted::skip) {
      skipped_.push_back(slot);
    } else {
      r.order = ++admissions_;
      running_.push_back(slot);
    }
  }
  for (std::size_t i = skipped_.size(); i-- > 0;) push_waiting(skipped_[i], true);
}

Scheduler::Admitted Scheduler::admit(std::int32_t slot, Budget& budget, ScheduledStep& step) {
  SchedulerRequest& r = requests_[slot];
  if (r.num_stale_tokens > 0) return Admitted::skip;  // its old output is still on the way
  const KvCache::Hit hit = kv_.find_hit(r);
  r.shared_prefix_boundary = hit.shared_prefix_boundary;
  const int preloaded =
      r.num_preemptions > 0 ? 0 : std::max(0, std::min(r.preloaded_tokens, r.num_tokens - 1) - hit.tokens);
  const int computed = hit.tokens + preloaded;
  if (budget.defer_prefills && computed < r.num_tokens - 1) return Admitted::stop;

  const int room = std::min(budget.tokens, budget.input - draft_slots_);
  int tokens = r.num_tokens - computed;
  bool padded = false;
  // A single token to compute is padded to the size of the decodes that it runs with.
  const bool with_running = !step.rows.empty() && !step.rows.front().admitted;
  if (spec_tokens_ > 0 && tokens == 1 && !budget.prefill_scheduled && (with_running || computed > 0) &&
      computed + 1 + spec_tokens_ + 1 <= config_.max_model_len) {
    if (1 + spec_tokens_ > room) return Admitted::stop;
    tokens = 1 + spec_tokens_;
    padded = true;
  }
  if (budget.long_prefill > 0) tokens = std::min(tokens, budget.long_prefill);
  if (!config_.enable_chunked_prefill && tokens > room) return Admitted::stop;
  tokens = std::min(tokens, room);
  if (split_for_mamba_) {
    tokens = mamba_split(r, tokens, computed);
    if (tokens == 0) return Admitted::stop;
    if (padded && tokens != 1 + spec_tokens_) {
      tokens = 1;
      padded = false;
    }
  }
  KvCache::Admission admission;
  admission.hit_tokens = hit.tokens;
  admission.use_hit = hit.any_block;
  admission.preloaded_tokens = preloaded;
  admission.full_sequence_must_fit = config_.scheduler_reserve_full_isl;
  admission.watermark = num_running() > 0;
  if (!kv_.allocate(r, tokens, admission)) return Admitted::stop;

  if (config_.enable_prefix_caching) {
    PrefixCacheCounts& n = prefix_cache_;
    const bool again = r.num_preemptions > 0;
    ++(again ? n.preempted_requests : n.requests);
    (again ? n.preempted_queries : n.queries) += r.num_tokens;
    (again ? n.preempted_hits : n.hits) += hit.tokens;
  }
  r.status = Status::running;
  r.num_computed_tokens = computed;
  budget.prefill_admitted |= computed < r.num_tokens - 1;
  budget.tokens -= tokens;
  budget.input -= tokens + draft_slots_;
  step.rows.push_back({slot, tokens, computed, static_cast<std::int16_t>(padded ? spec_tokens_ : 0), false, true});
  return Admitted::yes;
}

// _mamba_block_aligned_split: a prefill chunk ends where a state must be kept.
int Scheduler::mamba_split(const SchedulerRequest& r, int num_new_tokens, int hit_tokens) const {
  const int start = r.num_computed_tokens + hit_tokens;
  const int prefill_end = std::max(r.num_prompt_tokens, r.num_tokens - 1);
  if (start >= prefill_end) return num_new_tokens;
  const int ahead = std::max(1, config_.num_hash_lookahead_tokens());
  const bool drops = config_.speculation == SchedulerConfig::Speculation::eagle && !config_.num_hash_lookahead_tokens();
  const auto checkpoint = [&](int tokens, int unit) {
    return std::max((drops ? tokens : tokens - ahead) / unit * unit - (drops ? unit : 0), 0);
  };
  const int bs = config_.kv_groups[0].block_size;
  int end = start + num_new_tokens;
  if (end < prefill_end) {
    int most = max_scheduled_tokens_;
    if (config_.long_prefill_token_threshold > 0) most = std::min(most, config_.long_prefill_token_threshold);
    const int aligned = end / bs * bs;
    if (aligned > start || bs <= most) end = aligned;
  }
  const int last_block = checkpoint(r.num_tokens, bs);
  const int tail = mamba_partial_hits_ ? checkpoint(r.num_prompt_tokens, hash_block_size_) : 0;
  const int junction = r.shared_prefix_boundary;
  int stop = end;
  const auto stop_at = [&](int position) {
    if (start < position && position < end) stop = std::min(stop, position);
  };
  if (start % bs != 0) stop_at((start / bs + 1) * bs);
  stop_at(last_block);
  if (last_block < tail && tail < r.num_prompt_tokens) stop_at(tail);
  if (start < junction && junction < end) stop_at(start + (junction - start) / bs * bs);
  return std::max(stop - start, 0);
}

}  // namespace shardwise
