// Expert placement: vLLM's policy and ours on one thread (bar: 5 ms for 58 layers x 256 experts), and how even the GPUs
// get. 256 + 32 replicas go evenly to 32 GPUs, 256 + 64 to 64.
#include <benchmark/benchmark.h>

#include "parallel/eplb.h"

namespace shardwise {
namespace {

/// Skewed token counts, the same on every machine.
ExpertLoads skewed_loads() {
  ExpertLoads loads{58, 256, {}};
  std::uint64_t state = 1;
  for (int i = 0; i < loads.layers * loads.experts; ++i) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    const auto u = static_cast<std::int64_t>((state >> 33) % 4000);
    loads.counts.push_back(u * u);
  }
  return loads;
}

template <PhysicalToLogical (*policy)(const ExpertLoads&, const EplbShape&, std::span<const int>)>
void rebalance(benchmark::State& state) {
  const auto loads = skewed_loads();
  const int spare = static_cast<int>(state.range(0)), nodes = static_cast<int>(state.range(1));
  const EplbShape shape{loads.experts + spare, 8, nodes, spare};
  PhysicalToLogical map;
  for (auto _ : state) benchmark::DoNotOptimize(map = policy(loads, shape, {}));
  state.counters["balancedness"] = balancedness(loads, map, shape.ranks).mean;
  state.counters["bound"] = balancedness_bound(loads, shape);
}
BENCHMARK(rebalance<eplb_vllm>)->Name("vllm")->ArgsProduct({{32, 64}, {1, 8}})->Unit(benchmark::kMillisecond);
BENCHMARK(rebalance<eplb_ours>)->Name("ours")->ArgsProduct({{32, 64}, {1, 8}})->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace shardwise
