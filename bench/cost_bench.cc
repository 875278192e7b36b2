// One step-time evaluation (bar: 0.2 us), one compilation, one closed-form serving estimate.
#include <benchmark/benchmark.h>

#include "cost/compiled_step.h"
#include "model/bundled_model.h"

namespace shardwise {
namespace {

Cluster eight(const char* name, double bandwidth, double bf16, double fp8, double fp4, double link) {
  Gpu g;
  g.name = name, g.vendor = "nvidia", g.architecture = "Hopper";
  g.memory_bandwidth = gb_per_second(bandwidth);
  g.peak = {{GpuDType::bf16, tflops(bf16)}, {GpuDType::fp8, tflops(fp8)}};
  if (fp4 > 0) g.peak[GpuDType::fp4] = tflops(fp4);
  g.scale_up = {"NVLink", gb_per_second(link), 8};
  g.sm_count = 132;
  Cluster c;
  Node n;
  n.gpu = name, n.gpus = 8;
  n.scale_up = {"NVLink", LinkClass::scale_up, g.scale_up->bandwidth, microseconds(2)};
  n.network = {"InfiniBand", LinkClass::network, gb_per_second(50), microseconds(5)};
  c.nodes.push_back(n);
  c.gpus[name] = g;
  return c;
}

EngineConfig engine(int tp) {
  EngineConfig e;
  e.parallel.tensor_parallel_size = tp;
  for (int b = 8; b <= 512; b += 8) e.cudagraph_capture_sizes.push_back(b);
  return e;
}

const char* kModels[] = {"meta-llama/Meta-Llama-3.1-70B", "openai/gpt-oss-120b",  "deepseek-ai/DeepSeek-V3",
                         "Qwen/Qwen3.5-397B-A17B",        "MiniMaxAI/MiniMax-M3", "deepseek-ai/DeepSeek-V4-Pro"};

void decode_step(benchmark::State& state) {
  const auto model = bundled_model(kModels[state.range(0)]);
  const auto step = compile_step(model, engine(8), eight("H100-SXM", 3350, 989.4, 1978.9, 0, 450), {8});
  StepBatch b;
  b.decode_seqs = 37, b.decode_context = 37 * 1500;
  for (auto _ : state) {
    b.decode_context += 1;
    benchmark::DoNotOptimize(step.step_time(b));
  }
  state.SetLabel(kModels[state.range(0)]);
}
BENCHMARK(decode_step)->DenseRange(0, 5);

void mixed_step(benchmark::State& state) {
  const auto model = bundled_model(kModels[state.range(0)]);
  const auto step = compile_step(model, engine(8), eight("H100-SXM", 3350, 989.4, 1978.9, 0, 450), {8});
  StepBatch b;
  b.decode_seqs = 37, b.decode_context = 37 * 1500, b.prefill_tokens = 2000, b.prefill_seqs = 2,
  b.prefill_context = 1e6;
  for (auto _ : state) {
    b.prefill_context += 1;
    benchmark::DoNotOptimize(step.step_time(b));
  }
}
BENCHMARK(mixed_step)->DenseRange(0, 5);

void compile(benchmark::State& state) {
  const auto model = bundled_model(kModels[state.range(0)]);
  const auto cluster = eight("H100-SXM", 3350, 989.4, 1978.9, 0, 450);
  const auto e = engine(8);
  for (auto _ : state) benchmark::DoNotOptimize(compile_step(model, e, cluster, {8}));
}
BENCHMARK(compile)->DenseRange(0, 5);

}  // namespace
}  // namespace shardwise
