#include "memory/memory_plan.h"

#include <gtest/gtest.h>

#include "config/text_source.h"
#include "memory/kv_plan.h"
#include "memory/kv_specs.h"
#include "memory/memory_planner.h"
#include "memory/startup.h"
#include "memory/what_if.h"
#include "model/bundled_model.h"
#include "model/load.h"
#include "parallel/rules.h"

namespace shardwise {
namespace {

EngineConfig engine(int tp, std::int64_t max_model_len) {
  EngineConfig e;
  e.parallel.tensor_parallel_size = tp;
  e.max_model_len = max_model_len;
  return e;
}

/// Llama-3.1-8B: 32 layers of 8 KV heads x 128 in bfloat16: 64 KiB a block of 16 tokens and layer, 2 MiB over the
/// layers.
KvLayers llama_8b() {
  KvLayers layers;
  KvSpec spec;
  spec.num_kv_heads = 8;
  spec.head_size = spec.head_size_v = 128;
  const int id = layers.intern(spec);
  layers.names = {"model.layers.{}.self_attn.attn"};
  layers.stages.emplace_back();
  for (int l = 0; l < 32; ++l) layers.stages[0].push_back({id, 0, l});
  return layers;
}

TEST(KvPlan, OneRequestNeedsItsBlocksAndTheNullBlock) {
  KvPlanOptions options;
  options.max_model_len = 131072;
  const std::int64_t block = 2 << 20, exact = (131072 / 16 + 1) * block;
  EXPECT_TRUE(std::holds_alternative<KvPlan>(plan_kv_cache(llama_8b(), options, {exact})));
  const auto less = plan_kv_cache(llama_8b(), options, {exact - 1});
  ASSERT_TRUE(std::holds_alternative<KvRefusal>(less));
  EXPECT_EQ(std::get<KvRefusal>(less).estimated_max_model_len, 131056);
}

TEST(KvPlan, BlocksGrowWithMemoryAndTheEstimateIsExact) {
  KvPlanOptions options;
  options.max_model_len = 131072;
  std::int64_t last = 0;
  for (std::int64_t gib_free = 1; gib_free <= 40; ++gib_free) {
    const auto result = plan_kv_cache(llama_8b(), options, {gib_free << 30});
    if (const auto* refusal = std::get_if<KvRefusal>(&result)) {
      auto shorter = options;
      shorter.max_model_len = refusal->estimated_max_model_len.value();
      EXPECT_TRUE(std::holds_alternative<KvPlan>(plan_kv_cache(llama_8b(), shorter, {gib_free << 30})));
      shorter.max_model_len += 1;
      EXPECT_TRUE(std::holds_alternative<KvRefusal>(plan_kv_cache(llama_8b(), shorter, {gib_free << 30})));
      continue;
    }
    const auto& plan = std::get<KvPlan>(result);
    EXPECT_GT(plan.num_blocks, last);
    last = plan.num_blocks;
  }
  EXPECT_EQ(last, 20480);
}

TEST(KvPlan, TokensMeanBlocksBefore0201) {
  KvPlanOptions options;
  options.max_model_len = 8192;
  options.version = {0, 19, 0};
  const auto old = std::get<KvPlan>(plan_kv_cache(llama_8b(), options, {std::int64_t{5} << 30}));
  EXPECT_EQ(old.kv_tokens, 2560 * 16);
  EXPECT_EQ(kv_log_lines(old, options.version).size(), 2u);
}

TEST(MemoryPlan, MoreMemoryNeverMeansFewerBlocks) {
  for (const char* name : {"Qwen--Qwen3-8B", "gemma-3-27b-text", "deepseek-v2-lite", "Qwen--Qwen3.5-35B-A3B"}) {
    const Model model = bundled_model(name);
    std::int64_t last = -1;
    for (double utilisation = 0.3; utilisation < 1.0; utilisation += 0.1) {
      auto e = engine(2, 4096);
      e.gpu_memory_utilization = utilisation;
      const auto plan = plan_memory(model, e, find_gpu("H100"));
      EXPECT_GE(plan.num_blocks, last) << name;
      last = plan.num_blocks;
    }
    EXPECT_GT(last, 0) << name;
  }
}

TEST(MemoryPlan, WiderTensorParallelNeverHoldsMoreWeights) {
  const Model model = bundled_model("llama-2-70b");
  Bytes last = gib(1e6);
  for (const int tp : {1, 2, 4, 8}) {
    const auto plan = plan_memory(model, engine(tp, 4096), find_gpu("H100"));
    EXPECT_LT(plan.stages[0].weights.total(), last);
    last = plan.stages[0].weights.total();
  }
}

TEST(MemoryPlan, SaysWhatDoesNotFit) {
  const Model big = bundled_model("llama-2-70b");
  const auto one = plan_memory(big, engine(1, 4096), find_gpu("H100"));
  ASSERT_TRUE(one.refusal);
  EXPECT_TRUE(one.refusal->is("memory_weights"));
  EXPECT_LT(one.probability_fits, 0.01);
  const auto length = plan_memory(bundled_model("Qwen--Qwen3-32B"), engine(1, 40960), find_gpu("H100"));
  ASSERT_TRUE(length.refusal);
  EXPECT_TRUE(length.refusal->is("memory_max_model_len"));
  ASSERT_TRUE(length.refusal->estimated_max_model_len);
  const auto shorter = plan_memory(bundled_model("Qwen--Qwen3-32B"),
                                   engine(1, *length.refusal->estimated_max_model_len), find_gpu("H100"));
  EXPECT_FALSE(shorter.refusal);
}

TEST(MemoryPlan, LargestLengthIsExact) {
  const Model model = bundled_model("Qwen--Qwen3-32B");
  const auto e = engine(1, 0);
  const auto largest = largest_max_model_len(model, e, find_gpu("H100")).value();
  ASSERT_GT(largest, 0);
  ASSERT_LT(largest, 40960);
  EXPECT_FALSE(plan_memory(model, engine(1, largest), find_gpu("H100")).refusal);
  EXPECT_TRUE(plan_memory(model, engine(1, largest + 1), find_gpu("H100")).refusal);
}

TEST(MemoryPlan, ReplicatedKvIsNamedWithWhatWouldGiveItBack) {
  const auto rows = memory_what_if(bundled_model("deepseek-ai--DeepSeek-V3"), engine(8, 8192), find_gpu("B200"));
  const auto dcp = std::find_if(rows.begin(), rows.end(),
                                [](const auto& r) { return r.change.find("(DCP8)") != std::string::npos; });
  ASSERT_NE(dcp, rows.end());
  EXPECT_GT(
      dcp->plan.max_concurrency,
      6 * plan_memory(bundled_model("deepseek-ai--DeepSeek-V3"), engine(8, 8192), find_gpu("B200")).max_concurrency);
}

TEST(MemoryPlan, LengthThatIsFittedIsTheLargest) {
  const Model model = bundled_model("Qwen--Qwen3-32B");
  auto e = engine(1, 0);
  e.auto_fit_max_model_len = true;
  const auto plan = plan_memory(model, e, find_gpu("H100"));
  EXPECT_FALSE(plan.refusal);
  EXPECT_EQ(plan.max_model_len, largest_max_model_len(model, engine(1, 0), find_gpu("H100")));
  EXPECT_GE(plan.margin().value, 0);
  EXPECT_GT(plan.probability_fits, 0.99);
}

TEST(MemoryPlan, UtilisationBeyondWhatIsFreeIsRefusedByItsRule) {
  const Model model = bundled_model("Qwen--Qwen3-8B");
  auto e = engine(1, 4096);
  e.gpu_memory_utilization = 0.998;
  const auto plan = plan_memory(model, e, find_gpu("H100"));
  ASSERT_TRUE(plan.refusal);
  EXPECT_TRUE(plan.refusal->is("memory_free_at_start"));
  e.gpu_memory_utilization = recommended_gpu_memory_utilization(model, e, find_gpu("H100"));
  EXPECT_FALSE(plan_memory(model, e, find_gpu("H100")).refusal);
}

TEST(MemoryPlan, WhatOthersHoldLowersTheShareThatStands) {
  const Model model = bundled_model("Qwen--Qwen3-8B");
  for (const char* name : {"H100", "L40S", "RTX-5090", "MI300X"}) {
    Gpu gpu = find_gpu(name);
    double last = 1;
    for (const double taken : {0.0, 1.0, 4.0, 8.0, 20.0}) {
      gpu.memory_taken = gib(taken);
      auto e = engine(1, 4096);
      e.gpu_memory_utilization = recommended_gpu_memory_utilization(model, e, gpu);
      EXPECT_LE(e.gpu_memory_utilization, last) << name << " " << taken;
      EXPECT_LE(e.gpu_memory_utilization * to_gib(gpu.memory_total), to_gib(gpu.memory_total) - taken);
      const auto stands = plan_memory(model, e, gpu);
      EXPECT_FALSE(stands.refusal && stands.refusal->is("memory_free_at_start")) << name << " " << taken;
      last = e.gpu_memory_utilization;
      e.gpu_memory_utilization = 1 - taken / to_gib(gpu.memory_total) + 0.001;
      const auto refused = plan_memory(model, e, gpu);
      EXPECT_TRUE(refused.refusal && refused.refusal->is("memory_free_at_start")) << name << " " << taken;
    }
  }
}

TEST(MemoryPlan, DraftsOfOtherModelsHoldNoMtpLayers) {
  const Model model = bundled_model("deepseek-ai--DeepSeek-V3");
  auto e = engine(8, 8192);
  const auto without = plan_memory(model, e, find_gpu("H200"));
  e.num_speculative_tokens = 3;
  const auto with = plan_memory(model, e, find_gpu("H200"));
  e.speculative_method = "ngram";
  const auto other = plan_memory(model, e, find_gpu("H200"));
  EXPECT_GT(with.stages[0].weights.mtp.value, 0);
  EXPECT_LT(with.num_blocks, without.num_blocks);
  EXPECT_EQ(other.stages[0].weights.total(), without.stages[0].weights.total());
}

TEST(MemoryPlan, BlocksTooShortForCompressionAreARefusal) {
  auto e = engine(8, 8192);
  e.block_size = 32;
  EXPECT_TRUE(plan_memory(bundled_model("deepseek-ai--DeepSeek-V4-Pro"), e, find_gpu("B200")).refusal);
}

TEST(Startup, VisionTowersAndSharedMemoryCost) {
  const Model model = bundled_model("Qwen--Qwen3.5-27B");
  auto e = engine(1, 8192);
  e.max_num_batched_tokens = 2048;
  e.max_num_seqs = 8;
  const auto activation = [&](const EngineConfig& x) {
    const auto gpu = find_gpu("H100");
    return startup_terms(startup_features(model, x, gpu, 0, model.num_hidden_layers()), x, gpu).activation;
  };
  auto text = e;
  text.language_model_only = true;
  EXPECT_GT(activation(e), activation(text) + gib(1));
  EXPECT_EQ(non_torch_term(e, find_gpu("GB10")), "non_torch_unified");
  e.parallel.tensor_parallel_size = 4;
  EXPECT_EQ(non_torch_term(e, find_gpu("H100")), "non_torch_switch_wide");
  EXPECT_EQ(non_torch_term(e, find_gpu("RTX-4090")), "non_torch_pcie");
}

TEST(KvSpecs, HybridBlocksCoverTheState) {
  const Model model = bundled_model("Qwen--Qwen3.5-35B-A3B");
  KvSpecOptions o;
  o.version = {0, 32, 0};
  o.max_model_len = 262144;
  for (const auto& [tp, block] : {std::pair{1, 1056}, {2, 1056}, {4, 528}, {8, 272}, {16, 144}}) {
    o.parallel.tensor_parallel_size = tp;
    EXPECT_EQ(kv_specs(model, o).block_size, block) << tp;
  }
}

TEST(Startup, GraphSizesAndDefaults) {
  EXPECT_EQ(default_graph_count(1024, 0, {0, 19, 0}, generation_of("nvidia", 90)), 51);
  EXPECT_EQ(default_graph_count(1, 0, {0, 19, 0}, generation_of("nvidia", 90)), 2);
  EXPECT_EQ(default_gpu_memory_utilization({0, 19, 0}), 0.90);
  EXPECT_EQ(default_gpu_memory_utilization({0, 20, 0}), 0.92);
  EXPECT_LT(startup_coefficient("logits_bytes", {0, 19, 0}), startup_coefficient("logits_bytes", {0, 11, 0}));
}

TEST(MemoryPlanner, KeepsNothingThatChangesAnAnswer) {
  const Model model = bundled_model("deepseek-ai--DeepSeek-V3");
  const Gpu gpu = find_gpu("H200");
  MemoryPlanner planner(model, gpu);
  for (int round = 0; round < 2; ++round)
    for (int tp = 1; tp <= 64; ++tp) {
      const auto kept = planner.plan(engine(tp, 4096)), alone = plan_memory(model, engine(tp, 4096), gpu);
      EXPECT_EQ(kept.num_blocks, alone.num_blocks) << tp;
      EXPECT_EQ(kept.probability_fits, alone.probability_fits) << tp;
    }
}

}  // namespace
}  // namespace shardwise
