#include "workload/options.h"

#include <gtest/gtest.h>

#include "base/input_error.h"

namespace shardwise {
namespace {

std::string option_error(const std::string& text) {
  try {
    build_workload(read_workload_parts(text, "w.yaml"));
  } catch (const InputError& e) {
    return e.what();
  }
  return "no error";
}

Workload read(const std::string& text) { return build_workload(read_workload_parts(text, "w.yaml")); }

TEST(WorkloadOptions, AFileSaysEverything) {
  const Workload w = read(
      "isl: random[1000,0.5]\n"
      "osl: 100\n"
      "concurrency: 32\n"
      "prefix_tokens: 200\n"
      "prefix_groups: 3\n"
      "turns: 4\n"
      "think_time: 5s\n"
      "ttft: [p99<2s, 500ms]\n"
      "slo: e2e:p50<10s\n");
  EXPECT_EQ(to_string(w.isl), "uniform[500,1500]");
  EXPECT_EQ(w.concurrency, 32);
  EXPECT_EQ(w.prefix_tokens, 200);
  EXPECT_DOUBLE_EQ(w.prefix_share, 0.2);
  EXPECT_EQ(w.prefix_groups, 3);
  EXPECT_EQ(w.turns, 4);
  EXPECT_DOUBLE_EQ(w.think_time.value, 5);
  ASSERT_EQ(w.slos.size(), 3u);
  EXPECT_EQ(to_string(w.slos[1]), "ttft:mean<500ms");
}

TEST(WorkloadOptions, Loads) {
  EXPECT_EQ(read("rate: 4\n").arrivals, Arrivals::poisson);
  EXPECT_EQ(read("rate: 4\nburstiness: 0.5\n").arrivals, Arrivals::gamma);
  EXPECT_EQ(read("rate: inf\n").arrivals, Arrivals::burst);
  const Workload closed = read("rate: inf\nconcurrency: 8\n");  // vllm bench serve's closed loop
  EXPECT_EQ(closed.arrivals, Arrivals::closed_loop);
  const Workload ramp = read("ramp_up_strategy: exponential\nramp_up_start_rps: 1\nramp_up_end_rps: 9\n");
  EXPECT_EQ(*ramp.ramp_up, (RateRamp{RateRamp::Strategy::exponential, 1, 9}));
  EXPECT_EQ(ramp.request_rate, 5);
}

TEST(WorkloadOptions, LaterPartsReplaceEarlierOnes) {
  auto parts = read_workload_parts("isl: 100\nosl: 7\nttft: 1s\n", "w.yaml");
  parts.push_back({"isl", "200", {"--isl", 0, ""}});
  parts.push_back({"ttft", "p99<3s", {"--ttft", 0, ""}});
  const Workload w = build_workload(parts);
  EXPECT_EQ(w.isl.mean(), 200);
  EXPECT_EQ(w.osl.mean(), 7);
  EXPECT_EQ(w.slos.size(), 2u);
}

TEST(WorkloadOptions, Errors) {
  EXPECT_EQ(option_error("isll: 3\n"), "w.yaml:1: isll: unknown key 'isll' (did you mean 'isl'?)");
  EXPECT_EQ(option_error("osl: 3\nisl: 0\n"), "w.yaml:2: length 0 is out of range (1 to 1000000000 tokens)");
  EXPECT_EQ(option_error("concurrency: 2.5\n"), "w.yaml:1: concurrency: '2.5' is no whole number (from 1 to 1000000)");
  EXPECT_EQ(option_error("isl: [1, 2]\n"), "w.yaml:1: isl: takes one value (no list)");
  EXPECT_EQ(option_error("ramp_up_start_rps: 3\n"),
            "w.yaml:1: ramp_up_start_rps: a ramp needs --ramp-up-strategy (linear or exponential)");
  EXPECT_EQ(option_error("prefix_share: 2\n"), "w.yaml:1: prefix_share: '2' is out of range (from 0 to 1)");
  EXPECT_EQ(option_error("think_time: 5s\n"),
            "w.yaml:1: think_time: a session of one request has no next turn (give --turns)");
  EXPECT_EQ(option_error("time_scale: 2\n"), "w.yaml:1: time_scale: only a trace has times to scale (give --trace)");
  EXPECT_EQ(option_error("- 1\n"), "w.yaml:1: a workload file is a map (for example isl: 1024)");
}

}  // namespace
}  // namespace shardwise
