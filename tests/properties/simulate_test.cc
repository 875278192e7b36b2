// What must hold for any simulated deployment, whatever its layout and load.
#include "sim/simulate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"

namespace shardwise {
namespace {

struct LinearStep final : StepTime {
  Seconds step_time(std::span<const ScheduledChunk> batch) const override {
    double us = 500;
    for (const ScheduledChunk& c : batch) us += static_cast<double>(c.tokens) + 1e-3 * static_cast<double>(c.context);
    return microseconds(us);
  }
};

struct Case {
  SimulationConfig config;
  Workload workload;
};

Case random_case(std::uint64_t seed) {
  Rng rng(seed);
  const auto chance = [&](double p) { return rng.uniform() < p; };
  Case x;
  SimulationConfig& c = x.config;
  SchedulerConfig& s = c.scheduler;
  s.num_blocks = static_cast<int>(rng.uniform_int(60, 400));
  s.max_num_seqs = static_cast<int>(rng.uniform_int(2, 40));
  s.max_num_batched_tokens = static_cast<int>(rng.uniform_int(64, 600));
  s.max_model_len = 900;
  s.async_scheduling = chance(0.5);
  s.pipeline_parallel_size = chance(0.3) ? static_cast<int>(rng.uniform_int(2, 4)) : 1;
  s.use_v2_model_runner = true;
  s.enable_prefix_caching = chance(0.6);
  if (chance(0.3)) s.kv_groups.push_back({SchedulerConfig::KvGroup::Kind::sliding_window, 16, 100, 0, false});
  if (chance(0.3)) {
    s.speculation = chance(0.5) ? SchedulerConfig::Speculation::eagle : SchedulerConfig::Speculation::ngram;
    s.num_speculative_tokens = static_cast<int>(rng.uniform_int(1, 4));
    if (s.speculation == SchedulerConfig::Speculation::ngram) s.async_scheduling = false;
  }
  c.data_parallel_size = static_cast<int>(rng.uniform_int(1, 4));
  c.lockstep = c.data_parallel_size > 1 && chance(0.5);
  c.replicas = static_cast<int>(rng.uniform_int(1, 3));
  c.routing = static_cast<ReplicaRouting>(rng.uniform_int(0, 2));
  c.api_server_count = static_cast<int>(rng.uniform_int(1, 3));
  c.api_request_time = c.api_output_time = milliseconds(rng.uniform());
  c.api_serial_prompt_token_time = microseconds(3);
  c.api_first_token_time = microseconds(700), c.api_streaming_time = microseconds(50);
  if (chance(0.2)) {
    DisaggregationConfig d;
    d.prefill_scheduler = s;
    d.prefill_engines = static_cast<int>(rng.uniform_int(1, 2));
    d.kv_bytes_per_token = Bytes(100'000);
    d.bandwidth = BytesPerSecond(1e9);
    c.disaggregation = d;
  }
  c.num_requests = rng.uniform_int(100, 300);
  Workload& w = x.workload;
  w.isl = parse_length("uniform[20,400]", "");
  w.osl = parse_length("uniform[1,60]", "");
  w.turns = chance(0.3) ? static_cast<int>(rng.uniform_int(2, 4)) : 1;
  w.think_time = milliseconds(w.turns > 1 ? 20 : 0);
  w.prefix_share = chance(0.4) ? 0.4 : 0;
  w.prefix_groups = 3;
  if (chance(0.5)) {
    w.concurrency = static_cast<int>(rng.uniform_int(1, 60));
  } else {
    w.arrivals = Arrivals::gamma;
    w.burstiness = 0.5;
    w.request_rate = 40;
    if (chance(0.3)) w.ramp_up = RateRamp{RateRamp::Strategy::linear, 5, 80};
  }
  return x;
}

TEST(SimulateProperties, RandomDeployments) {
  int preemptions = 0, failed = 0, dummies = 0;
  for (std::uint64_t seed = 1; seed <= 150; ++seed) {
    SCOPED_TRACE(seed);
    const Case x = random_case(seed);
    const SimulationResult r = simulate(x.config, x.workload, LinearStep{}, seed);
    // Every request finishes or is accounted for; a session ends early when its text outgrows max_model_len.
    if (x.workload.turns == 1) {
      ASSERT_EQ(r.completed + r.failed, *x.config.num_requests);
    } else {
      ASSERT_GE((r.completed + r.failed) * x.workload.turns, *x.config.num_requests);
    }
    ASSERT_GT(r.completed, 0);
    // Little's law, exactly: the area under the requests in flight is the sum of their times. (In a closed loop the
    // first request starts with the clock.)
    if (x.workload.concurrency) {
      const double area = r.mean_concurrency * r.duration, times = static_cast<double>(r.completed) * r.e2e.mean;
      ASSERT_NEAR(area, times, 1e-6 * times);
    }
    std::int64_t tokens = 0, requests = 0;
    double most = 0;
    for (const SimulatedEngine& e : r.engines) {
      ASSERT_LE(e.busy, 1 + 1e-9);
      ASSERT_LE(e.max_kv_use, 1);
      ASSERT_LE(e.mean_running, x.config.scheduler.max_num_seqs);
      ASSERT_GE(e.mean_waiting, 0);
      tokens += e.output_tokens, dummies += static_cast<int>(e.dummy_steps);
      if (!e.prefill_only) requests += e.requests;
      most = std::max(most, e.mean_running);
    }
    // Tokens are conserved: what the engines gave is what clients got, and the first tokens of prefill engines.
    ASSERT_EQ(tokens, r.output_tokens + (x.config.disaggregation ? r.completed : 0));
    ASSERT_GE(requests, r.completed);
    ASSERT_LE(requests, r.completed + r.failed);
    ASSERT_LE(r.ttft.mean, r.e2e.mean + 1e-12);
    ASSERT_LE(r.queue.mean, r.ttft.mean + 1e-12);
    for (const LatencySummary* s : {&r.ttft, &r.tpot, &r.itl, &r.e2e}) {
      ASSERT_LE(s->median, s->p90);
      ASSERT_LE(s->p90, s->p99);
      ASSERT_LE(s->p99, s->max);
      ASSERT_TRUE(std::is_sorted(s->cdf.begin(), s->cdf.end()));
    }
    if (x.workload.concurrency) {
      ASSERT_LE(r.mean_concurrency, *x.workload.concurrency + 1e-9);
    }
    preemptions += static_cast<int>(r.preemptions), failed += static_cast<int>(r.failed);
  }
  EXPECT_GT(preemptions, 100);  // the cases are not idle ones
  EXPECT_GT(dummies, 100);
  EXPECT_GT(failed, 0);  // some pools cannot hold the longest request in all groups
}

/// All of a result but its CDFs, exactly.
std::vector<double> numbers(const SimulationResult& r) {
  std::vector<double> v = {static_cast<double>(r.completed),
                           static_cast<double>(r.failed),
                           r.duration,
                           static_cast<double>(r.input_tokens),
                           static_cast<double>(r.output_tokens),
                           r.output_throughput_half_width.value_or(-1),
                           static_cast<double>(r.preemptions),
                           static_cast<double>(r.steps),
                           r.mean_concurrency,
                           r.engine_skew};
  for (const LatencySummary* s : {&r.ttft, &r.tpot, &r.itl, &r.e2e, &r.queue})
    v.insert(v.end(), {static_cast<double>(s->count), s->mean, s->median, s->p90, s->p99, s->max,
                       s->mean_half_width.value_or(-1)});
  for (const SimulatedEngine& e : r.engines)
    v.insert(v.end(),
             {static_cast<double>(e.requests), static_cast<double>(e.output_tokens), static_cast<double>(e.steps),
              static_cast<double>(e.preemptions), static_cast<double>(e.dummy_steps), e.busy, e.mean_running,
              e.mean_waiting, e.mean_kv_use, e.max_kv_use});
  for (const TimelinePoint& t : r.timeline)
    v.insert(v.end(), {t.seconds, t.running, t.waiting, t.kv_use, t.output_tokens_per_second});
  for (const RecordedStep& s : r.steps_recorded)
    v.insert(v.end(), {static_cast<double>(s.engine), static_cast<double>(s.start), static_cast<double>(s.end),
                       static_cast<double>(s.requests), static_cast<double>(s.tokens), static_cast<double>(s.decodes),
                       static_cast<double>(s.running), static_cast<double>(s.waiting), s.kv_use});
  for (const RecordedRequest& q : r.requests_recorded)
    v.insert(v.end(), {static_cast<double>(q.id), static_cast<double>(q.engine), static_cast<double>(q.start),
                       static_cast<double>(q.scheduled), static_cast<double>(q.first_token), static_cast<double>(q.end),
                       static_cast<double>(q.prompt), static_cast<double>(q.output)});
  return v;
}

/// The fast path against the slow one: every step, every request, every number, to the last bit. Small pools, budgets
/// and windows, so that requests are woken for blocks, tokens, preemptions and their ends; rates and loads as above.
TEST(SimulateProperties, CoastingChangesNothing) {
  using Kind = SchedulerConfig::KvGroup::Kind;
  std::int64_t steps = 0, preemptions = 0;
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(seed);
    Case x = random_case(seed);
    Rng rng(seed * 7919);
    const auto chance = [&](double p) { return rng.uniform() < p; };
    SimulationConfig& c = x.config;
    SchedulerConfig& s = c.scheduler;
    if (chance(0.8)) {  // else as it came: prefix caching, drafts, stages list every request
      s.enable_prefix_caching = false, s.speculation = SchedulerConfig::Speculation::none, s.num_speculative_tokens = 0;
      s.pipeline_parallel_size = 1;
      x.workload.prefix_share = 0;
    }
    s.kv_groups.resize(1);
    if (chance(0.2)) s.kv_groups.push_back({Kind::sliding_window, 16, 100, 0, false});
    if (chance(0.2)) s.kv_groups.push_back({Kind::chunked_local, 16, 0, 64, false});
    if (chance(0.2)) s.kv_groups.push_back({Kind::mamba, s.max_model_len, 0, 0, false});
    const bool align = Rng(seed * 7907).uniform() < 0.3;  // states kept at the ends of blocks, which a step can hold
    if (align) s.kv_groups = {{Kind::full, 32, 0, 0, false}, {Kind::mamba, 32, 0, 0, true}};
    if (s.kv_groups.size() > 1) s.enable_prefix_caching = false;
    if (chance(0.3)) s.long_prefill_token_threshold = 50;
    if (chance(0.2)) s.max_num_batched_tokens = 40;  // fewer than sequences, at times
    if (align) s.max_num_batched_tokens = std::max(s.max_num_batched_tokens, s.max_num_seqs + 64);
    if (chance(0.2)) s.watermark = 0.05;
    if (chance(0.2)) s.prefill_schedule_interval = 3;
    if (chance(0.3)) s.num_blocks = 5000;
    if (chance(0.2)) s.scheduler_reserve_full_isl = false;
    if (chance(0.2)) c.warmup_requests = 40;
    if (chance(0.2)) c.api_serial_output_time = microseconds(20);
    if (chance(0.2)) c.engine_row_time = microseconds(5);
    if (chance(0.3)) c.api_first_token_time = milliseconds(2);  // first tokens that later ones overtake
    if (c.disaggregation) c.disaggregation->prefill_scheduler = s;
    if (chance(0.5)) x.workload.osl = parse_length("uniform[1,200]", "");
    c.record_steps = 100'000;
    c.coast = true;
    const auto fast = simulate(c, x.workload, LinearStep{}, seed);
    c.coast = false;
    const auto slow = simulate(c, x.workload, LinearStep{}, seed);
    ASSERT_EQ(numbers(fast), numbers(slow));
    steps += slow.steps, preemptions += slow.preemptions;
  }
  EXPECT_GT(steps, 100'000);
  EXPECT_GT(preemptions, 1000);
}

TEST(SimulateProperties, MoreReplicasNeverSlower) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    Case x = random_case(seed);
    x.workload.turns = 1;
    x.workload.think_time = {};
    x.config.replicas = 1;
    const double one = simulate(x.config, x.workload, LinearStep{}, seed).e2e.mean;
    x.config.replicas = 3;
    EXPECT_LE(simulate(x.config, x.workload, LinearStep{}, seed).e2e.mean, 1.05 * one);
  }
}

}  // namespace
}  // namespace shardwise
