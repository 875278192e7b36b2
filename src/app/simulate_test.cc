#include "app/simulate.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "app/check.h"
#include "base/input_error.h"
#include "cost/compiled_step.h"
#include "model/bundled_model.h"
#include "model/load.h"
#include "serve/compiled_step_time.h"
#include "serve/simulation_config.h"

namespace shardwise {
namespace {

using Kind = SchedulerConfig::KvGroup::Kind;

SimulateRequest simulation_question(const std::string& model, const std::string& gpus,
                                    const std::vector<std::string>& flags) {
  SimulateRequest r;
  r.command.model_spec = model;
  r.command.model = std::make_shared<const Model>(bundled_model(model));
  r.command.cluster = parse_cluster(gpus);
  r.command.args = parse_vllm_flags(flags);
  r.command.workload.isl = parse_length("500", "--isl");
  r.command.workload.osl = parse_length("uniform[40,60]", "--osl");
  r.command.workload.concurrency = 16;
  r.requests = 100;
  return r;
}

SchedulerConfig scheduler_of(const SimulateRequest& r) {
  CheckRequest c = r.command;
  c.find_changes = false;
  const auto answer = check(c);
  const Plan& plan = answer.plan.value();
  return simulation_config({*answer.request.model, plan.engine, plan.memory, *plan.step}, r.command.args,
                           r.command.workload)
      .scheduler;
}

bool has(const SchedulerConfig& s, Kind kind) {
  return std::any_of(s.kv_groups.begin(), s.kv_groups.end(), [&](const auto& g) { return g.kind == kind; });
}

TEST(SimulationConfig, GroupsAreThoseOfTheKvPlan) {
  const auto gemma = scheduler_of(simulation_question("gemma-3-27b-it", "2xH100", {"-tp", "2"}));
  ASSERT_TRUE(has(gemma, Kind::full));
  ASSERT_TRUE(has(gemma, Kind::sliding_window));
  for (const auto& g : gemma.kv_groups)
    if (g.kind == Kind::sliding_window) {
      EXPECT_EQ(g.sliding_window, 1024);
    }
  const auto hybrid = scheduler_of(simulation_question("Qwen3-Next-80B-A3B-Instruct", "4xH100", {"-tp", "4"}));
  EXPECT_TRUE(has(hybrid, Kind::full));
  EXPECT_TRUE(has(hybrid, Kind::mamba));
  EXPECT_GE(hybrid.kv_groups[0].block_size, 16);
}

TEST(SimulationConfig, FlagsReachTheScheduler) {
  const auto s = scheduler_of(simulation_question(
      "Llama-3.1-8B", "1xH100",
      {"--scheduling-policy", "priority", "--long-prefill-token-threshold", "512", "--max-num-seqs", "77",
       "--speculative-config", R"({"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4})"}));
  EXPECT_EQ(s.policy, SchedulerConfig::Policy::priority);
  EXPECT_EQ(s.long_prefill_token_threshold, 512);
  EXPECT_EQ(s.max_num_seqs, 77);
  EXPECT_EQ(s.speculation, SchedulerConfig::Speculation::ngram);
  EXPECT_EQ(s.num_speculative_tokens, 3);
  EXPECT_TRUE(s.async_scheduling);  // up to 0.32 n-gram speculation turned it off
}

TEST(CompiledStepTime, LockstepPadsDecodesAndSpreadsExperts) {
  CheckRequest c = simulation_question("Qwen3-30B-A3B", "4xH100", {"-dp", "4", "--enable-expert-parallel"}).command;
  c.find_changes = false;
  const auto plan = check(c).plan.value();
  const CompiledStepTime time(plan.step);
  using Chunks = std::vector<ScheduledChunk>;
  using Ranks = std::vector<std::span<const ScheduledChunk>>;
  const Chunks one(1, {1, 1000, true}), many(100, {1, 1000, true});
  // Every rank is padded to the fullest: it alone sets the time.
  const Ranks decodes = {one, many, {}, one};
  EXPECT_NEAR(time.lockstep_time(decodes).value, time.step_time(many).value, 1e-9);
  EXPECT_GT(time.lockstep_time(decodes), time.step_time(one));
  // A long prompt on one rank runs unpadded: the experts get less work than if all had one, the rest has as much.
  const Chunks prompt(1, {8192, 0, false});
  const Ranks alone = {prompt, {}, {}, {}}, all = {prompt, prompt, prompt, prompt};
  EXPECT_LT(time.lockstep_time(alone), time.lockstep_time(all));
  EXPECT_NEAR(time.lockstep_time(all).value, time.step_time(prompt).value, 1e-9);
  const auto& experts = plan.step->data().operators.mixed[static_cast<std::size_t>(TokenOp::experts)];
  EXPECT_GT(time.lockstep_time(alone).value, time.step_time(prompt).value - TokenAt(8192)(experts));
}

TEST(SimulateCommand, IdleRanksRunDummyBatches) {
  auto r = simulation_question("Qwen3-30B-A3B", "4xH100", {"-dp", "4", "--enable-expert-parallel"});
  r.command.workload.concurrency = 2;
  const auto a = simulate_command(r);
  std::int64_t dummies = 0;
  for (const auto& e : a.result.value().engines) dummies += e.dummy_steps;
  EXPECT_GT(dummies, 100);
}

TEST(SimulateCommand, PrefillInstancesSendOverTheLink) {
  auto r = simulation_question("Llama-3.1-8B", "4xH100", {"-tp", "2"});
  r.prefill = PrefillInstances{parse_vllm_flags(std::vector<std::string>{"-tp", "1"}), 2};
  const auto a = simulate_command(r);
  EXPECT_EQ(a.transfer.value().link, "NVLink4");
  EXPECT_NEAR(static_cast<double>(a.transfer->bytes_per_token.value), 32 * 2 * 8 * 128 * 2, 2000);  // layers, K and V
  ASSERT_EQ(a.result.value().engines.size(), 3u);
  EXPECT_TRUE(a.result->engines[1].prefill_only);
  EXPECT_EQ(a.result->completed, 100);
  r.prefill->replicas = 3;
  EXPECT_THROW(simulate_command(r), InputError);
}

TEST(SimulateCommand, TheHighestRateKeepsTheSlos) {
  auto r = simulation_question("Llama-3.1-8B", "1xH100", {});
  r.requests.reset();
  r.command.workload.concurrency.reset();
  r.command.workload.slos = {parse_slo("tpot:mean<20ms", "")};  // says nothing about queues
  r.find_max_rate = true;
  const auto a = simulate_command(r);
  ASSERT_TRUE(a.max_rate.value().bounded);
  EXPECT_GT(a.max_rate->request_rate.value_or(0), 1);
  EXPECT_TRUE(a.result.value().slos_met());
  EXPECT_GT(a.result->request_throughput, 0.85 * *a.max_rate->request_rate);
}

TEST(SimulateCommand, ARateMayHaveALimitOfRequestsInFlight) {
  auto r = simulation_question("Llama-3.1-8B", "1xH100", {});
  r.command.workload.arrivals = Arrivals::poisson;
  r.command.workload.request_rate = 1000;
  r.command.workload.concurrency = 4;
  EXPECT_LE(simulate_command(r).result.value().mean_concurrency, 4);
}

}  // namespace
}  // namespace shardwise
