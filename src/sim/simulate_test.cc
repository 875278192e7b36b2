#include "sim/simulate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "sim/linear_step.h"

namespace shardwise {
namespace {

LengthDistribution constant(double tokens) {
  LengthDistribution d;
  d.a = d.b = tokens;
  return d;
}

Workload closed(int concurrency, double isl, double osl) {
  Workload w;
  w.isl = constant(isl);
  w.osl = constant(osl);
  w.concurrency = concurrency;
  return w;
}

TEST(Simulate, OneRequestAtATime) {
  SimulationConfig c;
  c.num_requests = 5;
  const SimulationResult r = simulate(c, closed(1, 100, 11), LinearStep{}, 1);
  EXPECT_EQ(r.completed, 5);
  EXPECT_EQ(r.output_tokens, 55);
  EXPECT_NEAR(r.ttft.mean, 1.1e-3, 1e-12);    // one prefill step of 100 tokens
  EXPECT_NEAR(r.tpot.mean, 1.001e-3, 1e-12);  // decode steps of one token
  EXPECT_NEAR(r.e2e.mean, 1.1e-3 + 10 * 1.001e-3, 1e-12);
  EXPECT_NEAR(r.duration, 5 * r.e2e.mean, 1e-12);
  EXPECT_EQ(r.itl.count, 50);
  EXPECT_NEAR(r.mean_concurrency, 1, 1e-9);
}

TEST(Simulate, SameSeedSameBytes) {
  SimulationConfig c;
  c.num_requests = 300;
  c.data_parallel_size = 3;
  c.record_steps = 1000;
  Workload w = closed(0, 200, 30);
  w.isl.kind = LengthDistribution::Kind::uniform, w.isl.a = 50, w.isl.b = 400;
  w.concurrency.reset();
  w.arrivals = Arrivals::poisson;
  w.request_rate = 200;
  const std::string a = perfetto_trace(simulate(c, w, LinearStep{}, 7)),
                    b = perfetto_trace(simulate(c, w, LinearStep{}, 7));
  EXPECT_EQ(a, b);
  EXPECT_NE(a, perfetto_trace(simulate(c, w, LinearStep{}, 8)));
}

// Every group's blocks count: a request that the pool cannot hold alone would be preempted by itself for ever.
TEST(Simulate, ARequestThatNoPoolHoldsFails) {
  using Kind = SchedulerConfig::KvGroup::Kind;
  for (const auto& second : {SchedulerConfig::KvGroup{Kind::chunked_local, 16, 0, 64, false},
                             SchedulerConfig::KvGroup{Kind::sliding_window, 16, 100, 0, false},
                             SchedulerConfig::KvGroup{Kind::mamba, 16, 0, 0, true}}) {
    SimulationConfig c;
    c.num_requests = 20;
    c.scheduler.kv_groups = {{}, second};
    c.scheduler.max_model_len = 900;
    c.scheduler.max_num_batched_tokens = 328;
    c.scheduler.max_num_seqs = 4;
    for (int blocks = 20; blocks <= 120; blocks += 4) {
      c.scheduler.num_blocks = blocks;
      const SimulationResult r = simulate(c, closed(4, 700, 100), LinearStep{}, 1);
      EXPECT_EQ(r.completed + r.failed, 20);
      EXPECT_EQ(r.completed > 0, r.failed == 0) << blocks;
    }
    EXPECT_GT(simulate(c, closed(4, 700, 100), LinearStep{}, 1).completed, 0);
  }
}

TEST(Simulate, LittlesLaw) {
  SimulationConfig c;
  c.num_requests = 2000;
  Workload w = closed(0, 100, 20);
  w.concurrency.reset();
  w.arrivals = Arrivals::poisson;
  w.request_rate = 300;
  const SimulationResult r = simulate(c, w, LinearStep{}, 3);
  EXPECT_EQ(r.completed, 2000);
  // Concurrency is measured over [0, last end], the rate over the same requests.
  EXPECT_NEAR(r.mean_concurrency, r.request_throughput * r.e2e.mean, 0.02 * r.mean_concurrency);
}

TEST(Simulate, AsyncHidesTheHost) {
  SimulationConfig c;
  c.num_requests = 20;
  c.engine_step_time = milliseconds(0.5);
  const double slow = simulate(c, closed(4, 64, 50), LinearStep{}, 1).tpot.mean;
  c.scheduler.async_scheduling = true;
  const double hidden = simulate(c, closed(4, 64, 50), LinearStep{}, 1).tpot.mean;
  EXPECT_NEAR(slow - hidden, 0.5e-3, 0.05e-3);
}

TEST(Simulate, PipelineStagesOverlap) {
  SimulationConfig c;
  c.num_requests = 400;
  const double one = simulate(c, closed(64, 64, 50), LinearStep{}, 1).output_throughput;
  c.scheduler.pipeline_parallel_size = 4;  // four batches, each of a quarter of the requests
  const double four = simulate(c, closed(64, 64, 50), LinearStep{}, 1).output_throughput;
  EXPECT_GT(four, 0.8 * one);
}

// A request's next token needs its last one, which leaves the last stage.
TEST(Simulate, StagesMakeNoRequestFaster) {
  SimulationConfig c;
  c.num_requests = 5;
  c.scheduler.use_v2_model_runner = true;
  for (const bool async : {false, true}) {
    c.scheduler.async_scheduling = async;
    c.scheduler.pipeline_parallel_size = 1;
    const double one = simulate(c, closed(1, 64, 50), LinearStep{}, 1).tpot.mean;
    c.scheduler.pipeline_parallel_size = 4;
    EXPECT_GE(simulate(c, closed(1, 64, 50), LinearStep{}, 1).tpot.mean, one - 1e-9) << async;
  }
}

TEST(Simulate, DisaggregationMovesTheCache) {
  SimulationConfig c;
  c.num_requests = 10;
  DisaggregationConfig d;
  d.prefill_scheduler = c.scheduler;
  d.kv_bytes_per_token = Bytes(1000);
  d.bandwidth = BytesPerSecond(1e8);
  d.latency = milliseconds(1);
  c.disaggregation = d;
  const SimulationResult r = simulate(c, closed(1, 100, 11), LinearStep{}, 1);
  EXPECT_EQ(r.completed, 10);
  // Prefill 1.1 ms, transfer 1 ms + 1 ms, then one token of the prompt again.
  EXPECT_NEAR(r.ttft.mean, 1.1e-3 + 2e-3 + 1.001e-3, 1e-9);
  EXPECT_NEAR(r.tpot.mean, 1.001e-3, 1e-9);
}

TEST(Simulate, MultiTurnHitsItsOwnHistory) {
  SimulationConfig c;
  c.num_requests = 40;
  Workload w = closed(2, 100, 20);
  w.turns = 4;
  const SimulationResult r = simulate(c, w, LinearStep{}, 1);
  EXPECT_EQ(r.completed, 40);
  EXPECT_GT(r.prefix_hit_rate, 0.4);
}

TEST(Simulate, LockstepWaitsForTheSlowest) {
  SimulationConfig c;
  c.num_requests = 200;
  c.data_parallel_size = 4;
  const SimulationResult apart = simulate(c, closed(16, 400, 20), LinearStep{}, 1);
  c.lockstep = true;
  const SimulationResult together = simulate(c, closed(16, 400, 20), LinearStep{}, 1);
  EXPECT_EQ(together.completed, 200);
  EXPECT_LE(together.output_throughput, apart.output_throughput);
  EXPECT_LT(apart.engine_skew, 0.1);
}

TEST(Simulate, ImpossibleRequestsAreCounted) {
  SimulationConfig c;
  c.num_requests = 10;
  const SimulationResult r = simulate(c, closed(2, 5000, 5), LinearStep{}, 1);  // max_model_len is 4096
  EXPECT_EQ(r.completed, 0);
  EXPECT_EQ(r.failed, 10);
}

TEST(Simulate, ABurstQueuesAtTheApiServer) {
  SimulationConfig c;
  c.num_requests = 10;
  Workload w = closed(10, 10, 1);
  w.arrivals = Arrivals::burst;
  w.concurrency.reset();
  c.api_serial_time = milliseconds(100);  // far above a step: each request meets an idle engine
  const SimulationResult one = simulate(c, w, LinearStep{}, 1);
  EXPECT_NEAR(one.ttft.max, 1.0 + 1.01e-3, 1e-9);
  c.api_server_count = 2;
  EXPECT_NEAR(simulate(c, w, LinearStep{}, 1).ttft.max, 0.5 + 1.02e-3, 1e-9);
}

TEST(Simulate, RoutingByPrefixHitsMore) {
  SimulationConfig c;
  c.num_requests = 600;
  c.replicas = 4;
  c.scheduler.num_blocks = 400;
  Workload w = closed(16, 320, 8);
  w.prefix_share = 0.8;
  w.prefix_groups = 40;
  const double in_turn = simulate(c, w, LinearStep{}, 1).prefix_hit_rate;
  c.routing = ReplicaRouting::prefix_aware;
  EXPECT_GT(simulate(c, w, LinearStep{}, 1).prefix_hit_rate, in_turn);
}

TEST(Distribution, QuantilesAreNumpys) {
  Distribution d;
  for (int v : {10, 20, 30, 40}) d.add(v);
  EXPECT_DOUBLE_EQ(d.quantile(0.5), 25);
  EXPECT_DOUBLE_EQ(d.quantile(0.9), 37);
  Distribution many;
  for (int i = 0; i < 200000; ++i) many.add(i * 1000);
  EXPECT_NEAR(many.quantile(0.99), 198e6, 198e6 * 0.004);
  EXPECT_NEAR(many.mean(), 99999.5e3, 1);
}

}  // namespace
}  // namespace shardwise
