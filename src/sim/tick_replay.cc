#include "sim/tick_replay.h"

#include <algorithm>
#include <deque>
#include <map>
#include <unordered_map>

namespace shardwise {
namespace {

struct Replayed {
  std::size_t index = 0;  ///< into the workload's requests
  int verify_steps = 0;
};

class Replay {
 public:
  Replay(const TickWorkload& w, const std::function<void(const TickRecord&)>& on_tick)
      : w_(w), on_tick_(on_tick), scheduler_(w.config), queue_size_(w.config.max_concurrent_batches()) {
    summary_.batch_queue_size = queue_size_;
    for (std::size_t i = 0; i < w.requests.size(); ++i) {
      summary_.requests.push_back({w.requests[i].id, -1, -1, -1, 0, 0, "none"});
      if (!w.concurrency) arrivals_[w.requests[i].arrive].push_back(i);
    }
    for (const auto& [tick, id] : w.aborts) aborts_[tick].push_back(id);
    to_start_ = w.concurrency.value_or(0);
  }

  TickSummary run() {
    const int last_arrival = arrivals_.empty() ? 0 : arrivals_.rbegin()->first;
    const int last_abort = aborts_.empty() ? 0 : aborts_.rbegin()->first;
    int stuck = 0;
    for (int tick = 0; tick < w_.max_ticks; ++tick) {
      rec_ = TickRecord{};
      rec_.tick = tick;
      const bool did = step(tick);
      if (did || !rec_.added.empty() || !rec_.aborted.empty()) on_tick_(rec_);
      const bool progress = std::any_of(rec_.tokens.begin(), rec_.tokens.end(), [](int n) { return n > 0; });
      stuck = did && !progress && rec_.finished.empty() ? stuck + 1 : 0;
      const bool pending = w_.concurrency && next_ < w_.requests.size();
      if (!did && tick >= last_arrival && !pending && tick >= last_abort) break;
      if (stuck > 50 && tick > last_arrival) break;
    }
    summary_.prefix_cache = scheduler_.prefix_cache();
    for (const auto& [id, slot] : slots_) summary_.unfinished.push_back(id);
    std::sort(summary_.unfinished.begin(), summary_.unfinished.end());
    return std::move(summary_);
  }

 private:
  struct Batch {
    ScheduledStep step;
    int call;
  };

  Replayed& live(std::int32_t slot) {
    if (static_cast<std::size_t>(slot) >= live_.size()) live_.resize(slot + 1);
    return live_[slot];
  }
  TickOutcome& outcome(std::int32_t slot) { return summary_.requests[live_[slot].index]; }

  void add(std::size_t index, int tick) {
    const TickRequest& q = w_.requests[index];
    NewRequest n;
    n.id = q.id;
    n.prompt = q.prompt;
    n.max_tokens = q.max_tokens;
    n.eos_at = q.eos_at;
    n.priority = q.priority;
    n.arrival_time = w_.arrival_is_tick ? tick : tick + static_cast<double>(q.id) * 1e-4;
    n.output_first = q.output_first;
    const std::int32_t slot = scheduler_.add(n);
    live(slot) = {index, 0};
    slots_[q.id] = slot;
    rec_.added.push_back(q.id);
  }

  void arrive(int tick) {
    if (const auto it = aborts_.find(tick); it != aborts_.end()) {
      for (const std::int64_t id : it->second) {
        const auto slot = slots_.find(id);
        if (slot == slots_.end()) continue;
        TickOutcome& out = outcome(slot->second);
        out.finish_reason = "abort";
        out.finished = tick;
        scheduler_.abort(slot->second);
        slots_.erase(slot);
        rec_.aborted.push_back(id);
        ++to_start_;
      }
    }
    if (w_.concurrency) {
      for (; to_start_ > 0 && next_ < w_.requests.size(); --to_start_) add(next_++, tick);
      to_start_ = 0;
    } else if (const auto it = arrivals_.find(tick); it != arrivals_.end()) {
      for (const std::size_t index : it->second) add(index, tick);
    }
  }

  bool step(int tick) {
    arrive(tick);
    if (queue_size_ == 1) {
      if (!scheduler_.has_requests()) return false;
      Batch batch = schedule(tick);
      update(batch, tick);
      return true;
    }
    if (scheduler_.has_requests()) {
      rec_.schedule_call = summary_.schedule_calls;
      queue_.push_back(schedule(tick));
      const bool executed = queue_.back().step.total_tokens > 0;
      if (static_cast<int>(queue_.size()) < queue_size_ && (executed || scheduler_.has_requests())) return true;
    } else if (queue_.empty()) {
      return false;
    }
    Batch batch = std::move(queue_.front());
    queue_.pop_front();
    rec_.updated_call = batch.call;
    update(batch, tick);
    return true;
  }

  Batch schedule(int tick) {
    const int interval = w_.config.prefill_schedule_interval;
    Batch batch{{}, summary_.schedule_calls};
    scheduler_.schedule(interval > 1 && summary_.schedule_calls % interval != 0, batch.step);
    ++summary_.schedule_calls;
    rec_.scheduled = true;
    for (const ScheduledRow& row : batch.step.rows) {
      const SchedulerRequest& r = scheduler_.request(row.request);
      rec_.ids.push_back(r.id);
      rec_.tokens.push_back(row.tokens);
      rec_.context.push_back(row.context);
      rec_.drafts.push_back(row.drafts);
      rec_.has_drafts |= row.drafts > 0;
      if (!row.admitted) continue;
      if (r.num_preemptions > 0) {
        rec_.resumed.push_back(r.id);
      } else {
        rec_.admitted_new.push_back(r.id);
        outcome(row.request).first_scheduled = tick;
        outcome(row.request).first_hit = row.context;
      }
    }
    for (const std::int32_t slot : batch.step.preempted) {
      rec_.preempted.push_back(scheduler_.request(slot).id);
      ++outcome(slot).preemptions;
      ++summary_.preemptions;
    }
    std::sort(rec_.preempted.begin(), rec_.preempted.end());
    rec_.free_after_schedule = scheduler_.kv().free_blocks();
    rec_.running = scheduler_.num_running();
    rec_.waiting = scheduler_.num_waiting();
    summary_.scheduled_tokens += batch.step.total_tokens;
    return batch;
  }

  void update(const Batch& batch, int tick) {
    rec_.updated = true;
    scheduler_.update(
        batch.step,
        [&](const SchedulerRequest& r, const ScheduledRow& row) {
          if (row.admitted) return 0;
          const auto v = static_cast<std::uint64_t>(r.id * 7 + live(row.request).verify_steps++);
          return std::min<int>(row.drafts, w_.accept[v % w_.accept.size()]);
        },
        outputs_);
    rec_.accepted.assign(batch.step.rows.size(), 0);
    for (const Scheduler::Output& out : outputs_) {
      rec_.accepted[out.row] = out.accepted;
      TickOutcome& result = outcome(out.request);
      if (result.first_token < 0) result.first_token = tick;
      if (!out.finished) continue;
      result.finished = tick;
      result.finish_reason =
          scheduler_.request(out.request).finish == SchedulerRequest::Finish::stop ? "stop" : "length";
      rec_.finished.push_back(result.id);
      slots_.erase(result.id);
      ++to_start_;
    }
    rec_.free_after_update = scheduler_.kv().free_blocks();
    const bool drafts = w_.config.speculation != SchedulerConfig::Speculation::none && !w_.config.async_scheduling;
    if (drafts && batch.step.total_tokens > 0) scheduler_.set_drafts(batch.step);
  }

  const TickWorkload& w_;
  const std::function<void(const TickRecord&)>& on_tick_;
  Scheduler scheduler_;
  int queue_size_;
  std::deque<Batch> queue_;
  std::map<int, std::vector<std::size_t>> arrivals_;
  std::map<int, std::vector<std::int64_t>> aborts_;
  std::unordered_map<std::int64_t, std::int32_t> slots_;  ///< of unfinished requests
  std::vector<Replayed> live_;
  std::vector<Scheduler::Output> outputs_;
  std::size_t next_ = 0;
  int to_start_ = 0;
  TickRecord rec_;
  TickSummary summary_;
};

}  // namespace

TickSummary replay_ticks(const TickWorkload& workload, const std::function<void(const TickRecord&)>& on_tick) {
  return Replay(workload, on_tick).run();
}

}  // namespace shardwise
