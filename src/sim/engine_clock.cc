#include "sim/engine_clock.h"

#include <algorithm>
#include <optional>

namespace shardwise {

EngineGroup::EngineGroup(int index, const SchedulerConfig& scheduler, int ranks, const SimulationConfig& config,
                         const StepTime& step_time, std::uint64_t seed)
    : index_(index),
      config_(config),
      step_time_(step_time),
      flights_(static_cast<std::size_t>(scheduler.max_concurrent_batches())),
      queue_size_(flights_.size()),
      stages_(scheduler.pipeline_parallel_size),
      interval_(scheduler.prefill_schedule_interval),
      rng_(Rng(seed).fork(static_cast<std::uint64_t>(index) + 100)),
      chunks_(static_cast<std::size_t>(ranks)),
      batches_(static_cast<std::size_t>(ranks)) {
  ranks_.reserve(static_cast<std::size_t>(ranks));
  for (int r = 0; r < ranks; ++r) ranks_.emplace_back(scheduler);
  for (Flight& flight : flights_) flight.steps.resize(static_cast<std::size_t>(ranks));
}

bool EngineGroup::any_requests() const {
  return std::any_of(ranks_.begin(), ranks_.end(), [](const Rank& r) { return r.scheduler.has_requests(); });
}

void EngineGroup::account(Nanoseconds now) {
  const auto passed = static_cast<double>(now - accounted_);
  if (passed <= 0) return;
  accounted_ = now;
  for (Rank& r : ranks_) {
    const double used = 1.0 - static_cast<double>(r.scheduler.kv().free_blocks()) / r.scheduler.kv().usable_blocks();
    r.running_ns += passed * r.scheduler.num_running();
    r.waiting_ns += passed * r.scheduler.num_waiting();
    r.kv_ns += passed * used;
    r.stats.max_kv_use = std::max(r.stats.max_kv_use, used);
  }
}

/// When the tokens that a batch's decodes go on from are there: async scheduling does not wait for them.
Nanoseconds EngineGroup::decodes_ready(const Flight& flight) const {
  Nanoseconds ready = 0;
  for (std::size_t i = 0; i < ranks_.size(); ++i)
    for (const ScheduledRow& row : flight.steps[i].rows)
      if (const auto slot = static_cast<std::size_t>(row.request); row.decode && slot < ranks_[i].token_at.size())
        ready = std::max(ready, ranks_[i].token_at[slot]);
  return ready;
}

void EngineGroup::note_tokens(const Flight& flight) {
  for (std::size_t i = 0; i < ranks_.size(); ++i)
    for (const ScheduledRow& row : flight.steps[i].rows) {
      if (!row.emits) continue;
      auto& token_at = ranks_[i].token_at;
      const auto slot = static_cast<std::size_t>(row.request);
      if (slot >= token_at.size()) token_at.resize(slot + 1);
      token_at[slot] = flight.end;
    }
}

void EngineGroup::schedule(Nanoseconds now, EngineListener& listener) {
  Flight& flight = flights_[(oldest_ + in_flight_) % queue_size_];
  const bool throttle = interval_ > 1 && calls_ % interval_ != 0;
  ++calls_;
  ++in_flight_;
  Seconds longest_stage{};
  std::size_t rows = 0;
  int tokens = 0;
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    Rank& r = ranks_[i];
    ScheduledStep& step = flight.steps[i];
    step.rows.clear();
    step.preempted.clear();
    step.total_tokens = step.coasting = 0;
    chunks_[i].clear();
    batches_[i] = {};
    if (!r.scheduler.has_requests()) continue;
    r.scheduler.schedule(throttle, step);
    r.stats.preemptions += static_cast<std::int64_t>(step.preempted.size());
    for (std::size_t k = 0; k + 1 < in_flight_ && !step.woken.empty(); ++k)
      r.scheduler.list_woken(step, flights_[(oldest_ + k) % queue_size_].steps[i]);
    if (step.total_tokens == 0) continue;
    ++r.stats.steps;
    listener.on_scheduled(index_, static_cast<int>(i), step, now);
    auto& chunks = chunks_[i];
    chunks.resize(step.rows.size() + (step.coasting > 0));
    for (std::size_t k = 0; k < step.rows.size(); ++k)
      chunks[k] = {step.rows[k].tokens, step.rows[k].context, step.rows[k].decode};
    if (step.coasting > 0) chunks.back() = {step.coasting, step.coasting_context, true, step.coasting};
    batches_[i] = chunks_[i];
    if (stages_ > 1) longest_stage = std::max(longest_stage, step_time_.stage_time(chunks_[i], stages_));
    rows = std::max(rows, step.num_requests());
    tokens += step.total_tokens;
  }
  const Nanoseconds host =
      to_nanoseconds(config_.engine_step_time.value + config_.engine_row_time.value * static_cast<double>(rows));
  flight.start = std::max(now + host, gpu_free_);
  if (stages_ > 1) flight.start = std::max(flight.start, decodes_ready(flight));
  if (tokens == 0) {
    flight.start = flight.end = std::max(now, last_end_);
    return;
  }
  const Seconds longest =
      ranks_.size() > 1 ? step_time_.lockstep_time(batches_) : step_time_.step_time(batches_.front());
  if (stages_ == 1) longest_stage = longest;
  for (std::size_t i = 0; i < ranks_.size(); ++i) ranks_[i].stats.dummy_steps += batches_[i].empty();
  // Batches follow each other through the stages; the longest stage sets the distance.
  gpu_free_ = flight.start + to_nanoseconds(longest_stage.value);
  flight.end = std::max(flight.start + to_nanoseconds(longest.value),
                        last_end_ + (stages_ > 1 ? to_nanoseconds(longest_stage.value) : 0));
  last_end_ = flight.end;
  if (stages_ > 1) note_tokens(flight);
  busy_ += gpu_free_ - flight.start;
}

void EngineGroup::process(Nanoseconds now, EngineListener& listener) {
  Flight& flight = flights_[oldest_];
  oldest_ = (oldest_ + 1) % queue_size_;
  --in_flight_;
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    Rank& r = ranks_[i];
    const ScheduledStep& step = flight.steps[i];
    if (step.num_requests() == 0) continue;
    r.scheduler.update(
        step,
        [&](const SchedulerRequest&, const ScheduledRow& row) {
          if (row.admitted) return 0;
          int n = 0;
          while (n < row.drafts && rng_.uniform() < config_.acceptance_rate) ++n;
          return n;
        },
        outputs_);
    for (const Scheduler::Output& out : outputs_) r.stats.output_tokens += out.new_tokens;
    r.stats.output_tokens += step.coasting;
    listener.on_outputs(index_, static_cast<int>(i), outputs_, step.coasting, now);
    if (r.scheduler.config().speculation != SchedulerConfig::Speculation::none &&
        !r.scheduler.config().async_scheduling)
      r.scheduler.set_drafts(step);
    listener.on_step(index_, static_cast<int>(i), step, flight.start, flight.end);
  }
}

std::optional<Nanoseconds> EngineGroup::turn(Nanoseconds now, EngineListener& listener) {
  account(now);
  stuck_ = false;
  if (waiting_) {  // the oldest batch has come back
    waiting_ = false;
    process(now, listener);
    return now;
  }
  if (any_requests() && in_flight_ < queue_size_) {
    schedule(now, listener);
    const Flight& latest = flights_[(oldest_ + in_flight_ - 1) % queue_size_];
    const bool executed =
        std::any_of(latest.steps.begin(), latest.steps.end(), [](const auto& s) { return s.total_tokens > 0; });
    if (in_flight_ < queue_size_ && (executed || any_requests()) && !(in_flight_ == 1 && !executed)) return now;
    stuck_ = !executed && in_flight_ == 1 &&
             std::any_of(ranks_.begin(), ranks_.end(), [](const Rank& r) { return r.scheduler.num_waiting() > 0; }) &&
             std::all_of(ranks_.begin(), ranks_.end(), [](const Rank& r) { return r.scheduler.num_running() == 0; });
  } else if (in_flight_ == 0) {
    idle_ = true;
    return std::nullopt;
  }
  const Nanoseconds end = flights_[oldest_].end;
  waiting_ = true;
  return std::max(end, now);
}

void EngineGroup::close(Nanoseconds now) {
  account(now);
  const auto total = static_cast<double>(std::max<Nanoseconds>(now, 1));
  for (Rank& r : ranks_) {
    r.stats.mean_running = r.running_ns / total;
    r.stats.mean_waiting = r.waiting_ns / total;
    r.stats.mean_kv_use = r.kv_ns / total;
    r.stats.busy = std::min(1.0, static_cast<double>(busy_) / total);  // a wasted step may outlast the last answer
    const PrefixCacheCounts& n = r.scheduler.prefix_cache();
    r.stats.prompt_tokens = n.queries;
    r.stats.prefix_hit_tokens = n.hits;
  }
}

}  // namespace shardwise
