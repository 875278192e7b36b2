// The whole search, warm: model, cluster and calibration already read.
#include <benchmark/benchmark.h>

#include "app/plan.h"
#include "questions.h"

namespace shardwise {
namespace {

void search_all(benchmark::State& state, const char* model, const char* gpus, Goal goal) {
  const auto r = question(model, gpus, goal);
  const auto s = search_request(r, nullptr);
  std::size_t layouts = 0, plans = 0;
  for (auto _ : state) {
    const auto found = search(s);
    layouts = found.layouts;
    plans = found.plans.size();
    benchmark::DoNotOptimize(found.plans.data());
  }
  state.counters["layouts"] = static_cast<double>(layouts);
  state.counters["plans"] = static_cast<double>(plans);
}

BENCHMARK_CAPTURE(search_all, dense_8xH100, "Llama-3.1-70B", "8xH100", Goal::balanced)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(search_all, moe_8xH200, "Qwen3-235B-A22B", "8xH200", Goal::throughput)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(search_all, deepseek_v3_128x8xH100, "DeepSeek-V3", "128x8xH100", Goal::throughput)
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace shardwise
