// Measured rows as inputs: the replayed run, the scheduler-exact simulator and the closed form on the same step times.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "config/text_source.h"
#include "measured/serving_rows.h"

namespace shardwise {
namespace {

constexpr const char* kHeader =
    "id,class,system,model,arch,quantisation,vllm_version,gpus,tp,pp,dp,ep,isl_mean,isl_dist,osl_mean,osl_dist,"
    "concurrency,num_prompts,max_num_seqs,max_num_batched_tokens,other_flags\n";

std::vector<ServingRow> read(const std::string& rows) { return read_serving_rows(kHeader + rows, "rows.csv"); }
std::vector<ServingCase> cases(const std::string& rows) { return priced(read(rows)); }

/// ln of the ratio, largest over the rows.
struct Differences {
  double ttft = 0, tpot = 0, rate = 0;
};
Differences against_simulator(const std::vector<ServingCase>& rows, ServingMethod method) {
  Differences d;
  EXPECT_EQ(rows.size(), 5u);
  const auto worse = [](double& most, const Interval& a, const Interval& b) {
    most = std::max(most, std::abs(std::log(a.mean / b.mean)));
  };
  for (const auto& c : rows) {
    const auto a = predict_serving(c, default_constants(), method);
    const auto b = predict_serving(c, default_constants(), ServingMethod::simulator);
    worse(d.ttft, a.ttft_ms, b.ttft_ms), worse(d.tpot, a.tpot_ms, b.tpot_ms);
    worse(d.rate, a.output_tok_s_per_gpu, b.output_tok_s_per_gpu);
  }
  return d;
}

const char* kRows =
    "dense4,closed_loop,h100_sxm,Qwen/Qwen3-32B,dense,bf16,0.19.0,2,2,1,1,1,922,\"uniform[819,1024]\",230,"
    "\"uniform[205,256]\",4,,,8192,\n"
    "dense64,closed_loop,h100_sxm,Qwen/Qwen3-32B,dense,bf16,0.19.0,4,4,1,1,1,922,\"uniform[819,1024]\",230,"
    "\"uniform[205,256]\",64,,,8192,\n"
    "long,closed_loop,b200_sxm,meta-llama/Llama-3.1-70B,dense,fp8,0.19.0,2,2,1,1,1,7372,\"uniform[6553,8192]\",230,"
    "\"uniform[205,256]\",16,,,8192,\n"
    "moe,closed_loop,h200_sxm,MiniMaxAI/MiniMax-M2.5,moe,fp8_block,0.19.0,8,8,1,1,8,922,\"uniform[819,1024]\",230,"
    "\"uniform[205,256]\",32,,,8192,\n"
    "mla,closed_loop,b200_sxm,moonshotai/Kimi-K2.5,moe-mla,nvfp4,0.19.0,8,8,1,1,1,922,\"uniform[819,1024]\",230,"
    "\"uniform[205,256]\",32,,,8192,\n";

TEST(PredictServing, ReplayAgreesWithTheSchedulerExactSimulator) {
  const auto d = against_simulator(cases(kRows), ServingMethod::replay);
  EXPECT_LT(d.ttft, 0.01);
  EXPECT_LT(d.tpot, 0.003);
  EXPECT_LT(d.rate, 0.003);
}

// MoE ranks under data parallelism wait for each other's prompts in the simulator; the replay sees one rank alone.
TEST(PredictServing, LockstepRanksAreSlowerThanOneAlone) {
  const auto rows = cases(
      "dp,closed_loop,b200_sxm,MiniMaxAI/MiniMax-M2.5,moe,fp8_block,0.17.0,2,1,1,2,2,922,\"uniform[819,1024]\",230,"
      "\"uniform[205,256]\",64,,,2048,\n");
  const auto together = predict_serving(rows.at(0), default_constants());
  const auto alone = predict_serving(rows.at(0), default_constants(), ServingMethod::replay);
  EXPECT_GT(together.tpot_ms.mean, 1.03 * alone.tpot_ms.mean);
  EXPECT_LT(together.tpot_ms.mean, 1.5 * alone.tpot_ms.mean);
  EXPECT_LT(together.output_tok_s_per_gpu.mean, alone.output_tok_s_per_gpu.mean);
}

TEST(PredictServing, ClosedFormScreensWithinAFifth) {
  const auto d = against_simulator(cases(kRows), ServingMethod::closed_form);
  EXPECT_LT(d.tpot, 0.20);
  EXPECT_LT(d.rate, 0.25);
  EXPECT_LT(d.ttft, 0.8);
}

TEST(PredictServing, MeasuredRowsStayWithinTheirTolerance) {
  const std::string file = SHARDWISE_SOURCE_DIR "/bench/data/serving.csv";
  int closed = 0, predicted = 0;
  struct {
    double sum = 0, inside = 0, n = 0;
    void add(std::optional<double> measured, const Interval& p) {
      if (!measured || *measured <= 0) return;
      sum += std::abs(p.mean / *measured - 1), inside += p.lo <= *measured && *measured <= p.hi, n += 1;
    }
  } ttft, tpot, rate;
  for (const auto& row : read_serving_rows(read_file(file), file)) {
    if (std::visit([](const auto& r) { return r.load_class != "closed_loop"; }, row)) continue;
    ++closed;
    if (!std::holds_alternative<ServingCase>(row)) continue;
    const auto& c = std::get<ServingCase>(row);
    ++predicted;
    if (c.saturated || c.p50_statistics) continue;
    const auto p = predict_serving(c, default_constants());
    ttft.add(c.ttft_ms, p.ttft_ms), tpot.add(c.tpot_ms, p.tpot_ms);
    rate.add(c.output_tok_s_per_gpu, p.output_tok_s_per_gpu);
  }
  EXPECT_GE(predicted, 0.98 * closed);
  // Mean |relative error| of the shipped coefficients, which saw these rows; unseen groups: docs/accuracy.md.
  EXPECT_LT(tpot.sum / tpot.n, 0.06);
  EXPECT_LT(ttft.sum / ttft.n, 0.16);
  EXPECT_LT(rate.sum / rate.n, 0.065);
  for (const auto& m : {ttft, tpot, rate}) EXPECT_GT(m.inside / m.n, 0.88);
}

TEST(PredictServing, WhatCannotBePricedSaysWhy) {
  const auto rows = read(
      "noload,closed_loop,h100_sxm,Qwen/Qwen3-32B,dense,bf16,0.19.0,2,2,1,1,1,922,,230,,,,,,\n"
      "nolength,closed_loop,h100_sxm,Qwen/Qwen3-32B,dense,bf16,0.19.0,2,2,1,1,1,,,230,,8,,,,\n"
      "nogpu,closed_loop,tpu,Qwen/Qwen3-32B,dense,bf16,0.19.0,2,2,1,1,1,922,,230,,8,,,,\n"
      "prefill,prefill_only,h100_sxm,Qwen/Qwen3-32B,dense,bf16,0.19.0,2,2,1,1,1,922,,1,,8,,,,\n");
  ASSERT_EQ(rows.size(), 4u);
  for (const auto& row : rows) {
    ASSERT_TRUE(std::holds_alternative<UnpricedRow>(row));
    EXPECT_NE(std::get<UnpricedRow>(row).reason, "");
  }
}

}  // namespace
}  // namespace shardwise
