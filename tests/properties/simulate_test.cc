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
