// Requests that coast: decodes whose scheduling is known beforehand, so that a step costs nothing for them. Their
// numbers stay those of an earlier pass; from one pass to the next each has one token more computed, and one more
// delivered. Needs first come first served, no speculation, no prefix caching, no pipeline stages: then a decode is
// scheduled in every pass, and which block it gets makes no difference.
#include <algorithm>
#include <cassert>

#include "sim/scheduler.h"

namespace shardwise {
namespace {

constexpr int kRing = 64;   // passes; a request with no event in so many is looked at anyhow
constexpr int kEnd = 4;     // tokens before its last one a request is listed again: its end is decided in full
constexpr int kWorth = 4;   // passes that it must be able to coast
constexpr int kShort = 16;  // passes for which all stay listed when blocks or tokens run short

}  // namespace

bool Scheduler::coast(std::int32_t slot) {
  if (!may_coast_ || step_ < listed_until_) return false;
  SchedulerRequest& r = requests_[slot];
  if (r.status != Status::running || r.coast_place >= 0 || r.is_prefill_chunk || r.num_stale_tokens > 0 ||
      r.eos_at >= 0 || r.num_tokens + r.num_output_placeholders != r.num_computed_tokens + 1 ||
      r.max_total_tokens - r.num_computed_tokens < kEnd + kWorth)
    return false;
  running_.erase(std::find(running_.begin(), running_.end(), slot));
  r.coast_place = static_cast<std::int32_t>(coasting_.size());
  coasting_.push_back(slot);
  r.coast_start = r.coast_scheduled = r.coast_updated = step_;
  coasting_context_ += r.num_computed_tokens;
  youngest_coasting_ = coasting_.size() == 1 ? r.order : std::max(youngest_coasting_, r.order);
  if (events_.empty()) events_.resize(kRing);
  next_event(r, r.num_computed_tokens, step_ + 1);
  return true;
}

/// Brings the numbers of a coasting request to the end of the pass before this one.
void Scheduler::bring_up(SchedulerRequest& r) const {
  const int scheduled = step_ - 1 - r.coast_scheduled, delivered = std::max(0, updated_ - r.coast_updated);
  r.coast_scheduled += scheduled;
  r.coast_updated += delivered;
  r.num_computed_tokens += scheduled;
  r.num_tokens += delivered;
  r.num_in_flight_tokens += scheduled - delivered;
  if (config_.async_scheduling) r.num_output_placeholders += scheduled - delivered;
}

/// Notes the pass in which a coasting request needs a block, moves a window, or is listed again. It goes into pass
/// `pass` with `computed` tokens.
void Scheduler::next_event(const SchedulerRequest& r, int computed, int pass) {
  const int wait = std::min(r.quick_until - 1, r.max_total_tokens - kEnd) - computed;
  const int at = pass + std::clamp(wait, 0, kRing - 2);
  events_[static_cast<std::size_t>(at % kRing)].push_back(static_cast<std::int32_t>(&r - requests_.data()));
}

/// Whether the listed rows get what they would get among the coasting ones, wherever these stand in the queue.
bool Scheduler::coasting_is_plain(const Budget& budget, std::size_t due) const {
  std::int64_t tokens = static_cast<std::int64_t>(coasting_.size()), blocks = static_cast<std::int64_t>(due);
  for (const std::int32_t slot : running_) {
    const SchedulerRequest& r = requests_[slot];
    const int wanted = std::max(0, r.num_tokens + r.num_output_placeholders - r.num_computed_tokens);
    tokens += wanted;
    if (r.num_computed_tokens + wanted >= r.quick_until) blocks += wanted / least_block_ + 2;
  }
  if (blocks * kv_.num_groups() > kv_.free_blocks()) return false;
  const int room = std::min(budget.tokens, budget.input);
  if (tokens <= room) return true;
  // Only the last in the queue may be cut short.
  if (running_.empty()) return false;
  const SchedulerRequest& last = requests_[running_.back()];
  return last.order > youngest_coasting_ &&
         tokens - (last.num_tokens + last.num_output_placeholders - last.num_computed_tokens) <= room;
}

void Scheduler::schedule_coasting(Budget& budget, ScheduledStep& step) {
  std::vector<std::int32_t>& due = events_[static_cast<std::size_t>(step_ % kRing)];
  if (!coasting_is_plain(budget, due.size())) return wake_all(step);
  for (std::size_t i = 0; i < due.size(); ++i) {
    SchedulerRequest& r = requests_[due[i]];
    bring_up(r);
    if (r.num_computed_tokens + kEnd >= r.max_total_tokens) {
      wake(due[i], step);
      continue;
    }
    [[maybe_unused]] const bool fits = kv_.allocate(r, 1);
    assert(fits);
    next_event(r, r.num_computed_tokens + 1, step_ + 1);
  }
  due.clear();
  step.coasting = static_cast<int>(coasting_.size());
  step.coasting_context = coasting_context_;
  coasting_context_ += step.coasting;
  budget.tokens -= step.coasting;
  budget.input -= step.coasting;
}

void Scheduler::wake(std::int32_t slot, ScheduledStep& step) {
  SchedulerRequest& r = requests_[slot];
  coasting_context_ -= r.num_computed_tokens;
  coasting_[static_cast<std::size_t>(r.coast_place)] = coasting_.back();
  requests_[coasting_.back()].coast_place = r.coast_place;
  coasting_.pop_back();
  r.coast_place = -1;
  if (config_.async_scheduling && config_.use_v2_model_runner) r.next_decode_eligible_step = step_;
  const auto earlier = [&](std::int64_t order, std::int32_t other) { return order < requests_[other].order; };
  running_.insert(std::upper_bound(running_.begin(), running_.end(), r.order, earlier), slot);
  step.woken.push_back(slot);
}

void Scheduler::wake_all(ScheduledStep& step) {
  while (!coasting_.empty()) {
    const std::int32_t slot = coasting_.back();
    bring_up(requests_[slot]);
    wake(slot, step);
  }
  for (auto& pass : events_) pass.clear();
  listed_until_ = step_ + kShort;
}

void Scheduler::list_woken(const ScheduledStep& newest, ScheduledStep& in_flight) const {
  for (const std::int32_t slot : newest.woken) {
    const SchedulerRequest& r = requests_[slot];
    if (in_flight.number <= r.coast_start) continue;  // has its row
    in_flight.rows.push_back({slot, 1, r.num_computed_tokens, 0, true, false, true});
    --in_flight.coasting;
  }
}

}  // namespace shardwise
