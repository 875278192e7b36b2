// What follows a scheduled and a processed step: _update_after_schedule, update_from_output, finish_requests.
#include <algorithm>
#include <cassert>

#include "sim/scheduler.h"

namespace shardwise {

void Scheduler::after_schedule(ScheduledStep& step) {
  step.total_tokens = step.coasting;
  for (ScheduledRow& row : step.rows) {
    SchedulerRequest& r = requests_[row.request];
    r.num_computed_tokens += row.tokens;
    r.num_in_flight_tokens += row.tokens;
    r.is_prefill_chunk = r.num_computed_tokens < r.num_tokens + r.num_output_placeholders;
    row.emits = !r.is_prefill_chunk;
    row.decode = row.emits && row.tokens == 1 + row.drafts && row.context >= r.num_prompt_tokens;
    step.total_tokens += row.tokens;
    if (!config_.async_scheduling || r.is_prefill_chunk) continue;
    r.num_output_placeholders += 1 + row.drafts;
    r.num_spec_tokens = spec_tokens_;
    if (config_.use_v2_model_runner) r.next_decode_eligible_step = step_ + config_.pipeline_parallel_size;
  }
}

void Scheduler::set_drafts(const ScheduledStep& step) {
  for (const ScheduledRow& row : step.rows) {
    SchedulerRequest& r = requests_[row.request];
    if (r.status == Status::finished || r.status == Status::unused) continue;
    r.num_spec_tokens = r.is_prefill_chunk ? 0 : spec_tokens_;
  }
}

/// Accounts a row that delivers nothing: an unfinished prefill, or a request that ended meanwhile.
void Scheduler::settle(SchedulerRequest& r, const ScheduledRow& row) {
  r.num_in_flight_tokens -= row.tokens;
  if (r.num_stale_tokens > 0) r.num_stale_tokens -= row.tokens;
  if (r.status == Status::finished && r.num_in_flight_tokens == 0) release(r);
}

void Scheduler::deliver(SchedulerRequest& r, const ScheduledRow& row, Output& out) {
  r.num_in_flight_tokens -= row.tokens;
  const bool stale = r.num_stale_tokens > 0;
  if (stale) r.num_stale_tokens -= row.tokens;
  if (row.drafts > 0 && !stale) {
    const int rejected = row.drafts - out.accepted;
    if (r.num_computed_tokens > 0) r.num_computed_tokens -= rejected;
    if (r.num_output_placeholders > 0) r.num_output_placeholders -= rejected;
  }
  auto why = SchedulerRequest::Finish::none;
  int delivered = 0;
  while (delivered < 1 + out.accepted && why == SchedulerRequest::Finish::none) {
    const int position = r.num_output_tokens();
    ++r.num_tokens;
    ++delivered;
    if (position == r.eos_at) {
      why = SchedulerRequest::Finish::stop;
    } else if (r.num_tokens >= r.max_total_tokens) {
      why = SchedulerRequest::Finish::length;
    }
  }
  out.new_tokens = delivered;
  const bool running = r.status == Status::running;
  // Tokens behind a stop were computed for nothing.
  if (config_.since_0_33() && why != SchedulerRequest::Finish::none && !stale)
    r.num_computed_tokens -= 1 + out.accepted - delivered;
  if (config_.async_scheduling) {
    if (!stale) r.num_output_placeholders -= config_.since_0_33() ? 1 + out.accepted : delivered;
    if (running) kv_.cache_blocks(r, r.num_computed_tokens - r.num_output_placeholders);
  } else if (caches_drafted_ && running && !stale) {
    kv_.cache_blocks(r, r.num_computed_tokens - r.num_in_flight_tokens);
  }
  if (why == SchedulerRequest::Finish::none) return;
  out.finished = true;
  if (running) {
    stopped_running_ = true;
  } else {
    remove_waiting(row.request);
  }
  finish(r, why);
}

void Scheduler::finish(SchedulerRequest& r, SchedulerRequest::Finish why) {
  if (r.deferred) {
    r.deferred = false;
    --num_deferred_;
  }
  r.status = Status::finished;
  r.finish = why;
  kv_.free(r);
  finished_since_schedule_ = true;
  if (r.num_in_flight_tokens == 0) release(r);
}

void Scheduler::release(SchedulerRequest& r) {
  kv_.close(r);
  free_slots_.push_back(static_cast<std::int32_t>(&r - requests_.data()));
}

void Scheduler::remove_stopped() {
  std::erase_if(running_, [&](std::int32_t slot) { return requests_[slot].status == Status::finished; });
  stopped_running_ = false;
}

bool Scheduler::abort(std::int32_t slot) {
  SchedulerRequest& r = requests_[slot];
  if (r.status == Status::unused || r.status == Status::finished) return false;
  if (r.status == Status::running) {
    assert(r.coast_place < 0);
    running_.erase(std::find(running_.begin(), running_.end(), slot));
  } else {
    remove_waiting(slot);
  }
  finish(r, SchedulerRequest::Finish::abort);
  return true;
}

}  // namespace shardwise
