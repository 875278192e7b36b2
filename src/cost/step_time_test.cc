// Properties of a step: monotone in work and hardware, shards add up, compiled tables equal the plain formulas.
#include <gtest/gtest.h>

#include <cmath>

#include "config/text_source.h"
#include "cost/collectives.h"
#include "cost/compiled_step.h"
#include "cost/step_compiler.h"
#include "model/bundled_model.h"
#include "model/load.h"

namespace shardwise {
namespace {

Gpu nvlink_h100() {
  Gpu g;
  g.name = "H100-SXM", g.vendor = "nvidia", g.architecture = "Hopper", g.compute_capability = 90;
  g.memory_bandwidth = gb_per_second(3350);
  g.peak = {{GpuDType::bf16, tflops(989.4)}, {GpuDType::fp16, tflops(989.4)}, {GpuDType::fp8, tflops(1978.9)}};
  g.scale_up = {"NVLink4", gb_per_second(450), 8};
  g.sm_count = 132;
  return g;
}

Cluster cluster_of(const Gpu& gpu, int nodes = 1, int gpus = 8) {
  Cluster c;
  Node n;
  n.gpu = gpu.name, n.gpus = gpus;
  n.scale_up = {"NVLink4", LinkClass::scale_up, gpu.scale_up->bandwidth, microseconds(2)};
  n.network = {"InfiniBand NDR 400", LinkClass::network, gb_per_second(50), microseconds(5)};
  c.nodes.assign(static_cast<std::size_t>(nodes), n);
  c.gpus[gpu.name] = gpu;
  return c;
}

EngineConfig engine(int tp = 1, int pp = 1, int dp = 1, bool ep = false) {
  EngineConfig e;
  e.parallel.tensor_parallel_size = tp, e.parallel.pipeline_parallel_size = pp, e.parallel.data_parallel_size = dp;
  e.parallel.enable_expert_parallel = ep;
  for (int b : {1, 2, 4}) e.cudagraph_capture_sizes.push_back(b);
  for (int b = 8; b <= 512; b += 8) e.cudagraph_capture_sizes.push_back(b);
  return e;
}

StepBatch decode(double n, double context) {
  StepBatch b;
  b.decode_seqs = n, b.decode_context = n * context;
  return b;
}

double ms(const Model& m, const EngineConfig& e, const Cluster& c, const StepBatch& b, int per_node = 8) {
  return to_ms(compile_step(m, e, c, {per_node}).step_time(b));
}

TEST(StepTime, ReasonableForLlama8bOnH100) {
  const auto m = bundled_model("meta-llama/Meta-Llama-3.1-8B");
  const double one = ms(m, engine(), cluster_of(nvlink_h100()), decode(1, 1000));
  EXPECT_GT(one, 5.0);  // 16 GB of weights at 3.35 TB/s is 4.8 ms
  EXPECT_LT(one, 9.0);
}

TEST(StepTime, WithoutGraphsTheHostBinds) {
  // Reported: 27B on an RTX 5090 41.7 ms a token, constant up to 8 in flight; 7B models 17 to 23 ms.
  const auto m = bundled_model("meta-llama/Meta-Llama-3.1-8B");
  auto e = engine();
  const double graphs = ms(m, e, cluster_of(nvlink_h100()), decode(1, 1000));
  e.cudagraph_mode = CudagraphMode::piecewise;
  const double pieces = ms(m, e, cluster_of(nvlink_h100()), decode(1, 1000));
  e.cudagraph_mode = CudagraphMode::none;
  const double compiled = ms(m, e, cluster_of(nvlink_h100()), decode(1, 1000));
  e.enforce_eager = true;
  const double eager = ms(m, e, cluster_of(nvlink_h100()), decode(1, 1000));
  EXPECT_LE(graphs, pieces);
  EXPECT_LT(pieces, compiled);
  EXPECT_GT(eager, 15);
  EXPECT_LT(eager, 25);
  EXPECT_NEAR(ms(m, e, cluster_of(nvlink_h100()), decode(8, 1000)), eager, 0.1 * eager);
  // Work that takes the GPU longer than the launches hides them.
  EXPECT_NEAR(ms(m, e, cluster_of(nvlink_h100()), decode(512, 4000)),
              ms(m, engine(), cluster_of(nvlink_h100()), decode(512, 4000)), 1e-6);
}

TEST(StepTime, MoreWorkIsNeverFaster) {
  for (const char* name : {"meta-llama/Meta-Llama-3.1-8B", "openai/gpt-oss-120b", "MiniMaxAI/MiniMax-M2.5",
                           "deepseek-ai/DeepSeek-V3", "qwen3-next-80b-a3b"}) {
    const auto step = compile_step(bundled_model(name), engine(4), cluster_of(nvlink_h100()), {8});
    double last = 0;
    for (double n = 1; n <= 1024; n *= 1.19) {
      const double t = step.step_time(decode(n, 2000)).value;
      EXPECT_GE(t, last * 0.985) << name << " at " << n;  // fitted surfaces may dip by a percent between kernels
      last = t;
    }
    last = 0;
    for (double s = 16; s <= 131072; s *= 1.5) {
      const double t = step.step_time(decode(32, s)).value;
      EXPECT_GE(t, last * 0.985) << name << " context " << s;
      last = t;
    }
    last = 0;
    for (double p = 16; p <= 32768; p *= 1.3) {
      StepBatch b = decode(8, 1000);
      b.prefill_tokens = p, b.prefill_seqs = 1, b.prefill_context = p * p / 2;
      const double t = step.step_time(b).value;
      EXPECT_GE(t, last * 0.985) << name << " prompt " << p;
      last = t;
    }
  }
}

TEST(StepTime, BetterHardwareIsNeverSlower) {
  const auto m = bundled_model("meta-llama/Meta-Llama-3.1-70B");
  Gpu base = nvlink_h100(), wide = base, linked = base, fast = base;
  wide.memory_bandwidth = BytesPerSecond(base.memory_bandwidth.value * 1.5);
  linked.scale_up->bandwidth = BytesPerSecond(base.scale_up->bandwidth.value * 2);
  for (auto& [dtype, peak] : fast.peak) peak = FlopsPerSecond(peak.value * 1.5);
  for (double n : {1.0, 16.0, 256.0}) {
    StepBatch b = decode(n, 3000);
    for (int mixed = 0; mixed < 2; ++mixed) {
      if (mixed) b.prefill_tokens = 4096, b.prefill_seqs = 2, b.prefill_context = 2 * 2048 * 1024;
      const double t = ms(m, engine(4), cluster_of(base), b);
      EXPECT_LE(ms(m, engine(4), cluster_of(wide), b), t * 1.0001);
      EXPECT_LE(ms(m, engine(4), cluster_of(linked), b), t * 1.0001);
      EXPECT_LE(ms(m, engine(4), cluster_of(fast), b), t * 1.0001);
    }
  }
}

TEST(StepTime, TensorParallelAcrossNodesCostsMore) {
  const auto m = bundled_model("meta-llama/Meta-Llama-3.1-70B");
  const auto two = cluster_of(nvlink_h100(), 2);
  EXPECT_GT(ms(m, engine(8), two, decode(16, 1000), 4), 1.3 * ms(m, engine(8), two, decode(16, 1000), 8));
}

TEST(StepTime, PipelineStagesAddLatency) {
  const auto m = bundled_model("meta-llama/Meta-Llama-3.1-70B");
  const auto c = cluster_of(nvlink_h100());
  const auto flat = compile_step(m, engine(4), c, {8}), piped = compile_step(m, engine(4, 2), c, {8});
  EXPECT_GT(piped.step_time(decode(16, 1000)).value, flat.step_time(decode(16, 1000)).value);
  const auto parts = step_parts(piped.data(), decode(16, 1000));
  EXPECT_LT(parts.busiest, 0.7 * parts.all);
  EXPECT_GT(parts.busiest, 0.45 * parts.all);
}

TEST(StepTime, BreakdownAddsUp) {
  for (const char* name : {"meta-llama/Meta-Llama-3.1-8B", "openai/gpt-oss-120b", "deepseek-ai/DeepSeek-V3"}) {
    const auto step = compile_step(bundled_model(name), engine(8), cluster_of(nvlink_h100()), {8});
    StepBatch b = decode(64, 2000);
    for (int mixed = 0; mixed < 2; ++mixed) {
      if (mixed) b.prefill_tokens = 2048, b.prefill_seqs = 1, b.prefill_context = 2048 * 1024;
      double sum = 0;
      for (const auto& o : step.breakdown(b)) sum += o.time.value;
      EXPECT_NEAR(sum, step.step_time(b).value, 0.02 * sum) << name;
    }
  }
}

TEST(StepTime, CompiledTablesEqualThePlainFormula) {
  // At a knot, with coefficients of 1 and no gaps, a dense step is the sum of its kernels.
  auto k = default_constants();
  for (auto& v : k.value) v = 1;
  for (Coef c : {Coef::gap_hopper, Coef::moe_gap, Coef::host, Coef::sequence}) k[c] = 0;
  const auto m = bundled_model("meta-llama/Meta-Llama-3.1-8B");
  const auto cluster = cluster_of(nvlink_h100());
  const auto step = compile_step(m, engine(2), cluster, {8}, k);
  const auto chip = chip_of(cluster.first_gpu());
  const auto type = gemm_type(QuantScheme{}, chip);
  const double n = 64, s = 1500, h = 4096;
  double layer = Gemm(type, chip, 3072, h).time(n).seconds + Gemm(type, chip, h, 2048).time(n).seconds +
                 Gemm(type, chip, 14336, h).time(n).seconds + Gemm(type, chip, h, 7168).time(n).seconds;
  layer += 2 * collective_seconds(*chip.tables, rank_group(cluster, 8, 2, 1), Collective::all_reduce, n * h * 2);
  layer += n * (8 * h + 3 * 7168 + 2 * (3072 + 2048)) * 2 / (0.8 * chip.bandwidth);
  const auto op = attention_op(m.layers[0].attention, chip, 2, 1, CacheTypes{}, h);
  layer += op.decode_time(n, s).seconds;
  double expected = 32 * layer + Gemm(type, chip, 64128, h).time(n).seconds + 12 * n * 128256 / chip.bandwidth + 30e-6;
  expected += collective_seconds(*chip.tables, rank_group(cluster, 8, 2, 1), Collective::all_gather, n * 128256 * 2);
  EXPECT_NEAR(step.step_time(decode(n, s)).value, expected, 1e-9);
}

TEST(StepTime, ACompilerKeepsNothingThatChangesAnAnswer) {
  const auto m = bundled_model("openai/gpt-oss-120b");
  const auto cluster = cluster_of(nvlink_h100());
  StepCompiler compiler(m, cluster);
  for (int round = 0; round < 2; ++round)
    for (int tp : {1, 2, 4, 8}) {
      const auto kept = compiler.compile(engine(tp), {8}), alone = compile_step(m, engine(tp), cluster, {8});
      EXPECT_EQ(kept.step_time(decode(64, 2000)).value, alone.step_time(decode(64, 2000)).value) << tp;
    }
}

TEST(StepTime, IntervalsSayWhichKernelsWereMeasured) {
  const auto reason = [](const char* name) {
    return compile_step(bundled_model(name), engine(8), cluster_of(nvlink_h100()), {8}).data().band.reason;
  };
  EXPECT_NE(reason("qwen3-next-80b-a3b").find("linear-attention kernels measured"), std::string::npos);
  EXPECT_NE(reason("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16").find("linear-attention kernels measured"),
            std::string::npos);
  EXPECT_NE(reason("jamba-mini").find("layers by roofline"), std::string::npos);
  EXPECT_NE(reason("deepseek-ai/DeepSeek-V3.2").find("sparse-attention kernels measured"), std::string::npos);
  EXPECT_EQ(reason("deepseek-ai/DeepSeek-V3").find("attention kernels"), std::string::npos);
}

TEST(StepTime, DecodesBesidePromptsRunThroughTheChunkKernelBeforeTheSplit) {
  const auto m = bundled_model("qwen3-next-80b-a3b");
  auto old = engine(4), now = engine(4);
  old.vllm_version = VllmVersion{0, 23, 0}, now.vllm_version = VllmVersion{0, 24, 0};
  StepBatch b = decode(256, 1000);
  const auto time = [&](const EngineConfig& e) { return ms(m, e, cluster_of(nvlink_h100()), b); };
  EXPECT_NEAR(time(old), time(now), 1e-9);
  b.prefill_tokens = 200, b.prefill_seqs = 1, b.prefill_context = 200 * 100;
  EXPECT_GT(time(old), 1.1 * time(now));
}

TEST(StepTime, DistinctExpertsOfABatch) {
  EXPECT_NEAR(distinct_experts(8, 1), 1, 1e-12);
  EXPECT_NEAR(distinct_experts(8, 1e6), 8, 1e-9);
  EXPECT_NEAR(distinct_experts(4, 2), 4 * (1 - 0.75 * 0.75), 1e-12);
}

TEST(Collectives, GrowWithBytesAndRanks) {
  const auto c = cluster_of(nvlink_h100(), 4);
  const auto& t = *chip_of(c.first_gpu()).tables;
  for (int n : {2, 3, 4, 6, 8}) {
    double last = 0;
    for (double b = 256; b < 1e9; b *= 1.7) {
      const double s = collective_seconds(t, rank_group(c, 8, n, 1), Collective::all_reduce, b);
      EXPECT_GE(s, last * 0.97) << n << " ranks, " << b << " bytes";
      last = s;
    }
  }
  EXPECT_EQ(rank_group(c, 8, 16, 1).nodes, 2);
  EXPECT_EQ(rank_group(c, 8, 4, 8).nodes, 4);
}

}  // namespace
}  // namespace shardwise
