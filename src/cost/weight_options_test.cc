// Weights in host memory and LoRA adapters cost what moves over the bus and through their kernels.
#include <gtest/gtest.h>

#include "cost/host_weights.h"
#include "cost/step_compiler.h"
#include "hardware/hardware.h"
#include "model/bundled_model.h"

namespace shardwise {
namespace {

TEST(StepWithCopies, TheLastLayersCopyIsExposedAtTheEndOfAGraph) {
  const CopiedLayers one{8, {7}, {0.004}, 1};
  EXPECT_NEAR(step_with_copies(one, 0.016, true), 0.016 + 0.004, 1e-12);
  EXPECT_NEAR(step_with_copies(one, 0.016, false), 0.016, 1e-12);            // behind the next step's other layers
  EXPECT_NEAR(step_with_copies(one, 0.0016, false), 0.004 + 0.0002, 1e-12);  // the layer itself holds its buffer
}

TEST(StepWithCopies, CopiesTakeTheBusOneByOne) {
  const CopiedLayers two{8, {3, 7}, {0.01, 0.01}, 2};
  EXPECT_NEAR(step_with_copies(two, 0.001, false), 0.02, 1e-3);
}

TEST(StepWithCopies, Bounds) {
  for (const int ahead : {1, 2, 4})
    for (const double kernels : {0.001, 0.01, 0.1}) {
      const CopiedLayers stage{12, {2, 5, 8, 11}, {0.003, 0.003, 0.003, 0.003}, ahead};
      const double eager = step_with_copies(stage, kernels, false), graph = step_with_copies(stage, kernels, true);
      EXPECT_GE(eager, std::max(kernels, 0.012) - 1e-12);
      EXPECT_GE(graph, eager - 1e-12);
      EXPECT_LE(graph, kernels + 0.012 + 1e-12);
    }
}

struct Timed {
  double decode = 0, prompts = 0;
};

Timed timed(const std::string& model, EngineConfig engine) {
  engine.cudagraph_capture_sizes = {1, 2, 4, 8};
  const auto cluster = parse_cluster("1xH100");
  const auto step = compile_step(bundled_model(model), engine, cluster, {1});
  StepBatch decode;
  decode.decode_seqs = 4, decode.decode_context = 4000;
  StepBatch prompts;
  prompts.prefill_tokens = 4096, prompts.prefill_seqs = 1, prompts.prefill_context = 4096.0 * 2048;
  for (const auto& batch : {decode, prompts}) {
    double sum = 0;
    for (const auto& op : step.breakdown(batch)) sum += op.time.value;
    EXPECT_NEAR(sum, step.step_time(batch).value, 1e-3 * sum);
  }
  return {step.step_time(decode).value, step.step_time(prompts).value};
}

TEST(WeightOptions, WeightsInHostMemoryAreReadOverTheBusEachStep) {
  const auto plain = timed("Qwen/Qwen3-8B", {});
  EngineConfig uva;
  uva.offload.backend = OffloadConfig::Backend::uva, uva.offload.cpu_offload_max_bytes = gib(4);
  const auto read = timed("Qwen/Qwen3-8B", uva);
  // 4 GiB over PCIe gen5 at 0.8 of 63 GB/s instead of HBM
  EXPECT_NEAR(read.decode - plain.decode, 4.29 / 50.4 - 4.29 / 3350, 0.005);
  EngineConfig prefetch;
  prefetch.offload.backend = OffloadConfig::Backend::prefetch, prefetch.offload.group_size = 9;
  const auto copied = timed("Qwen/Qwen3-8B", prefetch);
  EXPECT_GT(copied.decode, plain.decode);
  EXPECT_NEAR(copied.prompts, plain.prompts, 0.1 * plain.prompts);  // hidden behind the other layers' work
}

TEST(WeightOptions, ExpertsThatNobodyChoseAreNotRead) {
  EngineConfig uva;
  uva.offload.backend = OffloadConfig::Backend::uva, uva.offload.cpu_offload_max_bytes = gib(20);
  EngineConfig prefetch;
  prefetch.offload.backend = OffloadConfig::Backend::prefetch, prefetch.offload.group_size = 3;
  EXPECT_LT(timed("Qwen/Qwen3-30B-A3B", uva).decode, timed("Qwen/Qwen3-30B-A3B", prefetch).decode);
}

TEST(WeightOptions, AdaptersAddKernelsToEveryStep) {
  const auto plain = timed("Qwen/Qwen3-8B", {});
  EngineConfig one, many;
  one.lora = many.lora = LoraConfig{};
  many.lora->max_loras = 8, many.lora->max_lora_rank = 256;
  const auto few = timed("Qwen/Qwen3-8B", one), all = timed("Qwen/Qwen3-8B", many);
  EXPECT_GT(few.decode, plain.decode);
  EXPECT_GT(all.decode, few.decode);
  EXPECT_GT(few.prompts, plain.prompts);
}

}  // namespace
}  // namespace shardwise
