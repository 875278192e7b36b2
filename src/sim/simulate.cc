#include "sim/simulate.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <optional>

#include "base/units.h"
#include "sim/api_servers.h"
#include "sim/engine_clock.h"
#include "sim/measurements.h"
#include "sim/request_source.h"
#include "sim/router.h"
#include "sim/timeline.h"

namespace shardwise {
namespace {

/// A request from its start at the client to its last token there.
struct Live {
  Nanoseconds first = -1, last = 0;
  int produced = 0;
  bool measured = true, prefilling = false;
  OfferedRequest offered;
  Nanoseconds start = 0, door = 0, scheduled = -1;
  int turn = 0;
  int replica = 0, engine = 0, server = 0;
  DpBalancer::Choice choice;
};

class Simulation final : public EngineListener {
 public:
  Simulation(const SimulationConfig& config, const Workload& workload, const StepTime& step_time, std::uint64_t seed)
      : c_(config),
        w_(workload),
        source_(workload, config.lengths, num_requests(config, workload), seed),
        api_(config),
        replicas_(config.routing, config.replicas),
        stop_counting_(config.cooldown_requests > 0 ? num_requests(config, workload) - config.cooldown_requests
                                                    : std::numeric_limits<std::int64_t>::max()),
        measurements_(workload.slos),
        timeline_(config.timeline_points) {
    if (c_.disaggregation) {
      const DisaggregationConfig& d = *c_.disaggregation;
      const StepTime& time = d.prefill_step_time ? *d.prefill_step_time : step_time;
      for (int i = 0; i < d.prefill_engines; ++i) add_group(d.prefill_scheduler, 1, time, seed);
      prefill_router_.emplace(ReplicaRouting::least_loaded, d.prefill_engines);
      links_.resize(static_cast<std::size_t>(d.prefill_engines));
      prefill_groups_ = d.prefill_engines;
    }
    for (int r = 0; r < c_.replicas; ++r) {
      balancers_.emplace_back(c_.dp_balancing, c_.data_parallel_size, c_.api_server_count);
      if (c_.lockstep) {
        add_group(c_.scheduler, c_.data_parallel_size, step_time, seed);
      } else {
        for (int i = 0; i < c_.data_parallel_size; ++i) add_group(c_.scheduler, 1, step_time, seed);
      }
    }
  }

  static std::int64_t num_requests(const SimulationConfig& c, const Workload& w) {
    if (c.num_requests) return *c.num_requests;
    if (w.trace) return static_cast<std::int64_t>(w.trace->requests.size());
    return std::max<std::int64_t>(1000, 10 * std::int64_t{w.concurrency.value_or(0)});
  }

  SimulationResult run() {
    if (source_.open_loop()) {
      offer_next(0);
    } else {
      const double gap = c_.start_spread.value / *w_.concurrency;
      for (int i = 0; i < *w_.concurrency; ++i) push(to_nanoseconds(i * gap), Kind::user, 0);
    }
    if (c_.data_parallel_size > 1) push(to_nanoseconds(c_.dp_stats_interval.value), Kind::dp_counts, 0);
    while (!events_.empty() && c_.warmup_requests + counted_ < stop_counting_) {
      std::pop_heap(events_.begin(), events_.end(), later);
      const Event event = events_.back();
      events_.pop_back();
      now_ = event.time;
      dispatch(event);
    }
    return result();
  }

  void on_scheduled(int group, int rank, const ScheduledStep& step, Nanoseconds now) override {
    const auto engine = static_cast<std::size_t>(engine_index(group, rank));
    for (std::size_t i = step.rows.size(); i-- > 0 && step.rows[i].admitted;) {
      Live& live = live_[static_cast<std::size_t>(slots_[engine][static_cast<std::size_t>(step.rows[i].request)])];
      if (live.scheduled < 0) live.scheduled = now;
    }
    for (const std::int32_t slot : step.woken)
      live_[static_cast<std::size_t>(slots_[engine][static_cast<std::size_t>(slot)])].last = last_output_[engine];
  }

  void on_outputs(int group, int rank, std::span<const Scheduler::Output> outputs, int coasting,
                  Nanoseconds now) override {
    const auto engine = static_cast<std::size_t>(engine_index(group, rank));
    const std::vector<int>& slots = slots_[engine];
    const Nanoseconds first_token_wait =
        api_.first_token_wait(api_.counts_streaming() ? streaming(slots, outputs) + coasting : 0);
    Scheduler& scheduler = groups_[static_cast<std::size_t>(group)].rank(rank);
    const auto together = c_.coast && scheduler.may_coast() ? api_.output_arrives(now) : std::nullopt;
    if (coasting > 0) {
      step_tokens_ += coasting;
      if (c_.measure_gaps) measurements_.add_gap(*together - last_output_[engine], coasting);
    }
    for (const Scheduler::Output& out : outputs) {
      const int id = slots[static_cast<std::size_t>(out.request)];
      Live& live = live_[static_cast<std::size_t>(id)];
      if (live.prefilling) {
        if (out.finished) send_kv(id, group, now);
        continue;
      }
      Nanoseconds at = api_.output_arrives(live.server, now);
      live.produced = out.num_output_tokens;
      step_tokens_ += out.new_tokens;
      if (live.first < 0) {
        at += first_token_wait;
        live.first = at;
      } else {
        at = std::max(at, live.last);  // a first token that waited is not overtaken
        if (live.measured && c_.measure_gaps) measurements_.add_gap(at - live.last);
      }
      live.last = at;
      if (out.finished) {
        finish(id, at);
      } else if (at == together && (live.measured || !c_.measure_gaps)) {
        scheduler.coast(out.request);
      }
    }
    if (together) last_output_[engine] = *together;
  }

  void on_step(int group, int rank, const ScheduledStep& step, Nanoseconds start, Nanoseconds end) override {
    ++steps_;
    if (step_tokens_ > 0) timeline_.add_tokens(now_, step_tokens_);
    step_tokens_ = 0;
    if (static_cast<std::int64_t>(steps_recorded_.size()) >= c_.record_steps) return;
    const Scheduler& s = groups_[static_cast<std::size_t>(group)].rank(rank);
    int decodes = step.coasting;
    for (const ScheduledRow& row : step.rows) decodes += row.decode;
    steps_recorded_.push_back({engine_index(group, rank), start, end, static_cast<int>(step.num_requests()),
                               step.total_tokens, decodes, s.num_running(), s.num_waiting(), kv_use(s)});
  }

 private:
  enum class Kind : std::uint8_t { user, offer, release, next_turn, arrive, engine, dp_counts };
  struct Event {
    Nanoseconds time;
    std::uint64_t order;
    Kind kind;
    int who;
  };
  static bool later(const Event& a, const Event& b) { return a.time != b.time ? a.time > b.time : a.order > b.order; }
  void push(Nanoseconds time, Kind kind, int who) {
    events_.push_back({time, order_++, kind, who});
    std::push_heap(events_.begin(), events_.end(), later);
  }

  void add_group(const SchedulerConfig& scheduler, int ranks, const StepTime& time, std::uint64_t seed) {
    const int index = static_cast<int>(groups_.size());
    first_engine_.push_back(static_cast<int>(slots_.size()));
    groups_.emplace_back(index, scheduler, ranks, c_, time, seed);
    loads_.emplace_back();
    for (int r = 0; r < ranks; ++r) slots_.emplace_back(), requests_of_engine_.push_back(0), last_output_.push_back(0);
  }
  int engine_index(int group, int rank) const { return first_engine_[static_cast<std::size_t>(group)] + rank; }
  static double kv_use(const Scheduler& s) {
    return 1.0 - static_cast<double>(s.kv().free_blocks()) / s.kv().usable_blocks();
  }

  void dispatch(const Event& event) {
    switch (event.kind) {
      case Kind::user:
        start_new(event.time);
        break;
      case Kind::offer:
        offer(event.time);
        break;
      case Kind::release:
        release(event.time);
        break;
      case Kind::next_turn:
        start(event.who, event.time);
        break;
      case Kind::arrive:
        arrive(event.who, event.time);
        break;
      case Kind::engine:
        run_engine(event.who, event.time);
        break;
      case Kind::dp_counts:
        publish_counts();
        break;
    }
  }

  /// Of the requests that get tokens now, those that had some before.
  Nanoseconds streaming(const std::vector<int>& slots, std::span<const Scheduler::Output> outputs) const {
    return std::count_if(outputs.begin(), outputs.end(), [&](const Scheduler::Output& out) {
      return live_[static_cast<std::size_t>(slots[static_cast<std::size_t>(out.request)])].first >= 0;
    });
  }

  int take_live() {
    if (free_live_.empty()) {
      live_.emplace_back();
      return static_cast<int>(live_.size()) - 1;
    }
    const int id = free_live_.back();
    free_live_.pop_back();
    return id;
  }

  void offer_next(Nanoseconds now) {
    if (const auto at = source_.next_arrival()) push(std::max(*at, now), Kind::offer, 0);
  }

  /// Open loop: the request due now; a concurrency limit, if there is one, holds it back.
  void offer(Nanoseconds now) {
    if (w_.concurrency && outstanding_ >= *w_.concurrency) {
      ++held_back_;
    } else {
      start_new(now);
    }
    offer_next(now);
  }

  /// A session has ended: its place goes to the next one.
  void release(Nanoseconds now) {
    --outstanding_;
    if (source_.open_loop()) {
      if (held_back_ == 0) return;
      --held_back_;
    }
    start_new(now);
  }

  void start_new(Nanoseconds now) {
    const int id = take_live();
    Live& live = live_[static_cast<std::size_t>(id)];
    if (!source_.next(live.offered)) {
      free_live_.push_back(id);
      return;
    }
    live.turn = 1;
    ++outstanding_;
    start(id, now);
  }

  void start(int id, Nanoseconds now) {
    Live& live = live_[static_cast<std::size_t>(id)];
    live.start = now;
    live.scheduled = live.first = -1;
    live.produced = 0;
    live.prefilling = c_.disaggregation.has_value();
    live.measured = live.offered.index >= c_.warmup_requests && live.offered.index < stop_counting_;
    live.server = api_.server_of(live.offered.index);
    live.door = api_.request_arrives(live.server, now, live.offered.prompt);
    push(live.door, Kind::arrive, id);
  }

  void arrive(int id, Nanoseconds now) {
    Live& live = live_[static_cast<std::size_t>(id)];
    if (!fits(live)) return fail(id, now);
    int group, rank = 0;
    if (live.prefilling) {
      group = prefill_router_->choose(0);
    } else {
      live.replica = replicas_.choose(live.offered.affinity);
      if (c_.data_parallel_size > 1) live.choice = balancers_[static_cast<std::size_t>(live.replica)].choose();
      rank = live.choice.rank;
      group = prefill_groups_ + (c_.lockstep ? live.replica : live.replica * c_.data_parallel_size + rank);
      if (!c_.lockstep) rank = 0;
    }
    NewRequest n;
    n.id = live.offered.index;
    n.prompt = live.offered.text;
    n.max_tokens = live.prefilling ? 1 : live.offered.output;
    n.arrival_time = to_seconds(now);
    n.output_first = live.offered.output_first;
    if (c_.disaggregation && !live.prefilling) n.preloaded_tokens = live.offered.prompt;
    EngineGroup& engine = groups_[static_cast<std::size_t>(group)];
    advance_timeline(now);
    engine.account(now);
    const auto slot = static_cast<std::size_t>(engine.rank(rank).add(n));
    ++loads_[static_cast<std::size_t>(group)].waiting;
    ++waiting_;
    live.engine = engine_index(group, rank);
    auto& slots = slots_[static_cast<std::size_t>(live.engine)];
    if (slot >= slots.size()) slots.resize(slot + 1);
    slots[slot] = id;
    ++requests_of_engine_[static_cast<std::size_t>(live.engine)];
    if (engine.idle()) {
      engine.wake();
      push(now, Kind::engine, group);
    }
  }

  /// Whether vLLM takes the request, and its engine can hold it alone.
  bool fits(const Live& live) const {
    const SchedulerConfig& s = live.prefilling ? c_.disaggregation->prefill_scheduler : c_.scheduler;
    if (live.offered.prompt >= s.max_model_len) return false;
    const std::int64_t longest =
        std::min<std::int64_t>(live.offered.prompt + (live.prefilling ? 1 : live.offered.output), s.max_model_len);
    const auto& engine = groups_[static_cast<std::size_t>(live.prefilling ? 0 : prefill_groups_)].rank(0);
    return engine.kv().blocks_alone(longest + s.num_speculative_tokens) < s.num_blocks;
  }

  void advance_timeline(Nanoseconds now) {
    timeline_.advance(now, running_, waiting_, kv_ / static_cast<double>(slots_.size()));
  }

  void run_engine(int index, Nanoseconds now) {
    EngineGroup& group = groups_[static_cast<std::size_t>(index)];
    while (true) {
      now_ = now;
      advance_timeline(now);
      const auto next = group.turn(now, *this);
      if (group.stuck()) drop_stuck(index, now);
      update_load(index);
      if (!next) return;
      if (!events_.empty() && events_.front().time <= *next) {
        push(*next, Kind::engine, index);
        return;
      }
      now = *next;
    }
  }

  /// Nothing runs and the first in line can never be admitted: vLLM would wait for ever, we count it as failed.
  void drop_stuck(int index, Nanoseconds now) {
    EngineGroup& group = groups_[static_cast<std::size_t>(index)];
    for (int r = 0; r < group.num_ranks(); ++r) {
      if (group.rank(r).num_waiting() == 0) continue;
      const std::int32_t slot = group.rank(r).first_waiting();
      const int id = slots_[static_cast<std::size_t>(engine_index(index, r))][static_cast<std::size_t>(slot)];
      group.rank(r).abort(slot);
      release_routes(live_[static_cast<std::size_t>(id)], index);
      fail(id, now);
    }
  }

  void update_load(int index) {
    const EngineGroup& group = groups_[static_cast<std::size_t>(index)];
    Load load;
    for (int r = 0; r < group.num_ranks(); ++r) {
      load.running += group.rank(r).num_running();
      load.waiting += group.rank(r).num_waiting();
      load.kv += kv_use(group.rank(r));
    }
    Load& before = loads_[static_cast<std::size_t>(index)];
    running_ += load.running - before.running;
    waiting_ += load.waiting - before.waiting;
    kv_ += load.kv - before.kv;
    before = load;
  }

  void publish_counts() {
    std::vector<DpBalancer::Counts> counts(static_cast<std::size_t>(c_.data_parallel_size));
    for (int r = 0; r < c_.replicas; ++r) {
      for (int i = 0; i < c_.data_parallel_size; ++i) {
        const int group = prefill_groups_ + (c_.lockstep ? r : r * c_.data_parallel_size + i);
        const Scheduler& s = groups_[static_cast<std::size_t>(group)].rank(c_.lockstep ? i : 0);
        counts[static_cast<std::size_t>(i)] = {s.num_waiting(), s.num_running(), kv_use(s)};
      }
      balancers_[static_cast<std::size_t>(r)].refresh(counts);
    }
    if (!events_.empty()) push(now_ + to_nanoseconds(c_.dp_stats_interval.value), Kind::dp_counts, 0);
  }

  void send_kv(int id, int group, Nanoseconds now) {
    Live& live = live_[static_cast<std::size_t>(id)];
    const DisaggregationConfig& d = *c_.disaggregation;
    prefill_router_->finished(group);
    Nanoseconds& link = links_[static_cast<std::size_t>(group)];
    const Seconds transfer = d.kv_bytes_per_token * live.offered.prompt / d.bandwidth;
    link = std::max(link, now) + to_nanoseconds(transfer.value);
    live.prefilling = false;
    push(link + to_nanoseconds(d.latency.value), Kind::arrive, id);
  }

  void release_routes(const Live& live, int group) {
    if (live.prefilling) return prefill_router_->finished(group);
    replicas_.finished(live.replica);
    if (c_.data_parallel_size > 1) balancers_[static_cast<std::size_t>(live.replica)].finished(live.choice);
  }

  void fail(int id, Nanoseconds now) {
    ++failed_;
    counted_ += live_[static_cast<std::size_t>(id)].measured;
    free_live_.push_back(id);
    push(now, Kind::release, 0);
  }

  void finish(int id, Nanoseconds at) {
    Live& live = live_[static_cast<std::size_t>(id)];
    release_routes(live, 0);
    concurrency_ns_ += static_cast<double>(at - live.start);
    counted_ += live.measured;
    if (live.measured)
      measurements_.add({live.start, live.door, live.scheduled, live.first, at, live.offered.prompt, live.produced});
    last_end_ = std::max(last_end_, at);
    if (static_cast<std::int64_t>(requests_recorded_.size()) < c_.record_steps)
      requests_recorded_.push_back({live.offered.index, live.engine, live.start, live.scheduled, live.first, at,
                                    live.offered.prompt, live.produced});
    if (live.turn < w_.turns) {
      const int turn = live.turn + 1;
      source_.follow(OfferedRequest(live.offered), live.offered);
      if (live.offered.prompt < c_.scheduler.max_model_len) {
        live.turn = turn;
        push(at + to_nanoseconds(w_.think_time.value), Kind::next_turn, id);
        return;
      }
    }
    free_live_.push_back(id);
    push(at, Kind::release, 0);
  }

  SimulationResult result() {
    SimulationResult r;
    measurements_.write(r, timeline_);
    r.failed = failed_;
    std::int64_t queries = 0, hits = 0, most = 0, total = 0;
    for (std::size_t g = 0; g < groups_.size(); ++g) {
      groups_[g].close(last_end_);
      for (int k = 0; k < groups_[g].num_ranks(); ++k) {
        SimulatedEngine engine = groups_[g].stats(k);
        engine.prefill_only = static_cast<int>(g) < prefill_groups_;
        engine.requests = requests_of_engine_[static_cast<std::size_t>(engine_index(static_cast<int>(g), k))];
        r.preemptions += engine.preemptions;
        queries += engine.prompt_tokens;
        hits += engine.prefix_hit_tokens;
        if (static_cast<int>(g) >= prefill_groups_) {
          most = std::max(most, engine.output_tokens);
          total += engine.output_tokens;
        }
        r.engines.push_back(engine);
      }
    }
    const auto decoders = static_cast<double>(c_.replicas) * c_.data_parallel_size;
    r.engine_skew = total > 0 ? static_cast<double>(most) * decoders / static_cast<double>(total) - 1 : 0;
    r.prefix_hit_rate = queries > 0 ? static_cast<double>(hits) / static_cast<double>(queries) : 0;
    r.mean_concurrency = last_end_ > 0 ? concurrency_ns_ / static_cast<double>(last_end_) : 0;
    r.steps = steps_;
    r.timeline = timeline_.points(last_end_);
    r.steps_recorded = std::move(steps_recorded_);
    r.requests_recorded = std::move(requests_recorded_);
    r.warmup =
        c_.warmup_requests > 0
            ? "the first " + std::to_string(c_.warmup_requests) + " requests load the system but are not measured"
            : "all requests are measured, ramp-up and drain included, as vllm bench serve does";
    return r;
  }

  struct Load {
    int running = 0, waiting = 0;
    double kv = 0;
  };
  const SimulationConfig& c_;
  const Workload& w_;
  RequestSource source_;
  ApiServers api_;
  ReplicaRouter replicas_;
  std::optional<ReplicaRouter> prefill_router_;
  std::vector<DpBalancer> balancers_;
  std::deque<EngineGroup> groups_;
  std::vector<int> first_engine_;
  std::vector<std::vector<int>> slots_;  ///< per engine: scheduler slot -> live request
  std::vector<std::int64_t> requests_of_engine_;
  std::vector<Nanoseconds> last_output_;  ///< per engine: when its last step's outputs reached the clients
  std::vector<Nanoseconds> links_;        ///< per prefill engine: when its link is free
  int prefill_groups_ = 0;
  std::vector<Event> events_;
  std::uint64_t order_ = 0;
  Nanoseconds now_ = 0;
  std::vector<Live> live_;
  std::vector<int> free_live_;
  std::int64_t outstanding_ = 0, held_back_ = 0;
  std::int64_t counted_ = 0;    ///< requests that count and have ended
  std::int64_t stop_counting_;  ///< the first index after those that count
  Measurements measurements_;
  Timeline timeline_;
  std::vector<Load> loads_;
  double running_ = 0, waiting_ = 0, kv_ = 0, concurrency_ns_ = 0;
  std::int64_t failed_ = 0, steps_ = 0, step_tokens_ = 0;
  Nanoseconds last_end_ = 0;
  std::vector<RecordedStep> steps_recorded_;
  std::vector<RecordedRequest> requests_recorded_;
};

}  // namespace

SimulationResult simulate(const SimulationConfig& config, const Workload& workload, const StepTime& step_time,
                          std::uint64_t seed) {
  check_simulation(config, workload);
  return Simulation(config, workload, step_time, seed).run();
}

}  // namespace shardwise
