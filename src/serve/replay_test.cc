// The replayed run: what goes in comes out, and the closed form agrees with it on the same step times.
#include "serve/replay.h"

#include <gtest/gtest.h>

#include "hardware/hardware.h"
#include "model/bundled_model.h"
#include "serve/closed_form.h"

namespace shardwise {
namespace {

CompiledStep step_of(const std::string& name, int tp) {
  const auto model = bundled_model(name);
  EngineConfig e;
  e.parallel.tensor_parallel_size = tp;
  for (int b = 8; b <= 512; b += 8) e.cudagraph_capture_sizes.push_back(b);
  return compile_step(model, e, parse_cluster("8xH100"), {8});
}

std::vector<ReplayRequest> requests(int n, std::int64_t prompt, std::int64_t output) {
  std::vector<ReplayRequest> out;
  for (int i = 0; i < n; ++i) out.push_back({0, prompt, output - output / 10 + (i * 7919) % (output / 5 + 1)});
  return out;
}

TEST(Replay, TokensAreConserved) {
  const auto step = step_of("meta-llama/Meta-Llama-3.1-8B", 1);
  const auto in = requests(160, 1000, 200);
  const auto r = replay(step.data(), {}, in, 16);
  double tokens = 0;
  for (const auto& q : in) tokens += static_cast<double>(q.output);
  EXPECT_NEAR(r.output_tokens_per_second * r.duration, tokens, 1e-6 * tokens);
  EXPECT_EQ(r.preemptions, 0);
  EXPECT_LE(r.running, 16.0);
  EXPECT_GE(r.ttft_p99, r.ttft_p50);
}

TEST(Replay, MoreLoadIsNeverFasterForOneUser) {
  const auto step = step_of("openai/gpt-oss-120b", 2);
  double tpot = 0, rate = 0;
  for (int c : {1, 4, 16, 64, 256}) {
    const auto r = replay(step.data(), {}, requests(10 * c, 1000, 500), c);
    EXPECT_GE(r.tpot, tpot * 0.99) << c;
    EXPECT_GE(r.output_tokens_per_second, rate) << c;
    tpot = r.tpot, rate = r.output_tokens_per_second;
  }
}

TEST(Replay, FullCacheQueuesOrPreempts) {
  const auto step = step_of("meta-llama/Meta-Llama-3.1-8B", 1);
  ReplayLimits tight;
  tight.kv_tokens = 8 * 1250;
  const auto in = requests(320, 1000, 500);
  const auto free = replay(step.data(), {}, in, 32), full = replay(step.data(), tight, in, 32);
  EXPECT_GT(full.ttft, 5 * free.ttft);
  EXPECT_LT(full.output_tokens_per_second, free.output_tokens_per_second);
  EXPECT_LE(full.running, 12.0);
}

TEST(Replay, ClosedFormAgrees) {
  for (const char* name : {"meta-llama/Meta-Llama-3.1-70B", "openai/gpt-oss-120b"}) {
    const auto step = step_of(name, 4);
    EngineConfig e;
    e.parallel.tensor_parallel_size = 4;
    for (int c : {1, 8, 32, 128}) {
      Workload load;
      load.isl.a = 1000, load.osl.a = 500;
      load.concurrency = c;
      const auto fast = estimate_serving(step, MemoryPlan{}, e, 1, load);
      const auto run = replay(step.data(), {}, requests(10 * c, 1000, 500), c);
      EXPECT_NEAR(fast.tpot_ms.mean, 1e3 * run.tpot, 0.12e3 * run.tpot) << name << " " << c;
      EXPECT_NEAR(fast.ttft_ms.mean, 1e3 * run.ttft, 0.6e3 * run.ttft) << name << " " << c;
      EXPECT_NEAR(fast.output_tokens_per_second.mean, run.output_tokens_per_second, 0.2 * run.output_tokens_per_second)
          << name << " " << c;
    }
  }
}

}  // namespace
}  // namespace shardwise
