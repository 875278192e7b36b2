#pragma once
// Engine cores on the clock. A group is what steps together: one engine core, or the ranks of a MoE server in lockstep.
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "base/rng.h"
#include "sim/scheduler.h"
#include "sim/simulate.h"

namespace shardwise {

/// What the engine's owner wants to know. `rank` is the index within the group.
class EngineListener {
 public:
  virtual ~EngineListener() = default;
  virtual void on_scheduled(int group, int rank, const ScheduledStep& step, Nanoseconds now) = 0;
  /// Besides `outputs`, `coasting` requests got a token each (Scheduler::coast).
  virtual void on_outputs(int group, int rank, std::span<const Scheduler::Output> outputs, int coasting,
                          Nanoseconds now) = 0;
  virtual void on_step(int group, int rank, const ScheduledStep& step, Nanoseconds start, Nanoseconds end) = 0;
};

class EngineGroup {
 public:
  EngineGroup(int index, const SchedulerConfig& scheduler, int ranks, const SimulationConfig& config,
              const StepTime& step_time, std::uint64_t seed);

  Scheduler& rank(int r) { return ranks_[static_cast<std::size_t>(r)].scheduler; }
  const Scheduler& rank(int r) const { return ranks_[static_cast<std::size_t>(r)].scheduler; }
  int num_ranks() const { return static_cast<int>(ranks_.size()); }
  const SimulatedEngine& stats(int r) const { return ranks_[static_cast<std::size_t>(r)].stats; }

  /// One turn of the engine's loop at time `now`: schedule, or wait for and process the oldest batch. Returns when to
  /// call again; nullopt = nothing to do until a request comes.
  std::optional<Nanoseconds> turn(Nanoseconds now, EngineListener& listener);
  bool idle() const { return idle_; }
  void wake() { idle_ = false; }
  /// A step was scheduled but nothing could run and nothing is in flight: no request will ever run.
  bool stuck() const { return stuck_; }
  /// Counts the state since the last call into the time-weighted means: before a change from outside.
  void account(Nanoseconds now);
  /// Brings the time-weighted means up to `now` and finishes them.
  void close(Nanoseconds now);

 private:
  struct Flight {
    std::vector<ScheduledStep> steps;  ///< by rank
    Nanoseconds start = 0, end = 0;
  };
  struct Rank {
    explicit Rank(const SchedulerConfig& config) : scheduler(config) {}
    Scheduler scheduler;
    SimulatedEngine stats;
    double running_ns = 0, waiting_ns = 0, kv_ns = 0;
    std::vector<Nanoseconds> token_at;  ///< by request slot: when its last token leaves the last pipeline stage
  };
  bool any_requests() const;
  void schedule(Nanoseconds now, EngineListener& listener);
  void process(Nanoseconds now, EngineListener& listener);
  Nanoseconds decodes_ready(const Flight& flight) const;
  void note_tokens(const Flight& flight);

  int index_;
  const SimulationConfig& config_;
  const StepTime& step_time_;
  std::vector<Rank> ranks_;
  std::vector<Flight> flights_;  ///< ring
  std::size_t oldest_ = 0, in_flight_ = 0;
  std::size_t queue_size_;
  int stages_;
  int interval_;
  std::int64_t calls_ = 0;
  Nanoseconds gpu_free_ = 0, last_end_ = 0, accounted_ = 0, busy_ = 0;
  bool idle_ = true, stuck_ = false, waiting_ = false;
  Rng rng_;
  std::vector<std::vector<ScheduledChunk>> chunks_;  ///< by rank
  std::vector<std::span<const ScheduledChunk>> batches_;
  std::vector<Scheduler::Output> outputs_;
};

}  // namespace shardwise
