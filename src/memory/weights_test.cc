#include "memory/weights.h"

#include <gtest/gtest.h>

#include "model/bundled_model.h"
#include "model/load.h"

namespace shardwise {
namespace {

const auto &on_hopper = generation_of("nvidia", 90), &on_blackwell = generation_of("nvidia", 100);

WeightBytes rank_weights(const Model& model, const EngineConfig& engine, int rank, const GpuGeneration& generation) {
  return rank_weights(weight_program(model), model, engine, rank, generation);
}

EngineConfig layout(int tp, int pp = 1, int dp = 1, bool ep = false) {
  EngineConfig engine;
  engine.parallel.tensor_parallel_size = tp;
  engine.parallel.pipeline_parallel_size = pp;
  engine.parallel.data_parallel_size = dp;
  engine.parallel.enable_expert_parallel = ep;
  return engine;
}

// Every projection of Llama-3.1-8B is sharded, norms are not: the ranks' shards add up to the whole model.
TEST(RankWeights, ShardsAddUpToTheModel) {
  const Model model = bundled_model("meta-llama/Llama-3.1-8B");
  const auto whole = rank_weights(model, layout(1), 0, on_hopper);
  for (int tp : {2, 4, 8}) {
    Bytes attention, mlp, embedding, head;
    for (int rank = 0; rank < tp; ++rank) {
      const auto part = rank_weights(model, layout(tp), rank, on_hopper);
      attention += part.attention, mlp += part.dense_mlp, embedding += part.embedding, head += part.lm_head;
      EXPECT_EQ(part.norm_other, whole.norm_other);
      EXPECT_EQ(part.buffers, whole.buffers);
    }
    EXPECT_EQ(attention, whole.attention) << tp;
    EXPECT_EQ(mlp, whole.dense_mlp) << tp;
    EXPECT_EQ(embedding, whole.embedding) << tp;
    EXPECT_EQ(head, whole.lm_head) << tp;
  }
}

// Stages of a pipeline hold every layer once: their layers' bytes add up.
TEST(RankWeights, StagesAddUpToTheModel) {
  for (const char* name :
       {"meta-llama/Llama-3.1-8B", "deepseek-ai/DeepSeek-V3", "moonshotai/Kimi-K2.5", "nvidia/GLM-5-NVFP4"}) {
    const Model model = bundled_model(name);
    const auto whole = rank_weights(model, layout(1), 0, on_blackwell);
    for (int pp : {2, 3, 5}) {
      Bytes attention, routed, dense;
      for (int stage = 0; stage < pp; ++stage) {
        const auto part = rank_weights(model, layout(1, pp), stage, on_blackwell);
        attention += part.attention, routed += part.routed_experts, dense += part.dense_mlp;
      }
      EXPECT_EQ(attention, whole.attention) << name << " PP" << pp;
      EXPECT_EQ(routed, whole.routed_experts) << name << " PP" << pp;
      EXPECT_EQ(dense, whole.dense_mlp) << name << " PP" << pp;
    }
  }
}

// Whatever the number of expert-parallel ranks, each expert lies on exactly one.
TEST(RankWeights, ExpertsAddUpUnderExpertParallelism) {
  const Model model = bundled_model("Qwen/Qwen3-235B-A22B");
  const auto whole = rank_weights(model, layout(1), 0, on_hopper);
  for (int dp : {2, 3, 5, 8}) {
    Bytes routed;
    for (int rank = 0; rank < dp; ++rank)
      routed += rank_weights(model, layout(1, 1, dp, true), rank, on_hopper).routed_experts;
    EXPECT_EQ(routed, whole.routed_experts) << dp;
  }
}

// More tensor parallelism never puts more bytes on a rank. (Padding of quantised kernels aside, which rounds shards
// up.)
TEST(RankWeights, MoreTensorParallelismIsNeverMoreBytes) {
  for (const auto& item : bundled_models()) {
    const Model model = bundled_model(item.name.c_str());
    std::int64_t last = INT64_MAX;
    for (int tp : {1, 2, 4, 8}) {
      if (model.num_attention_heads() % tp != 0) break;
      const auto bytes = rank_weights(model, layout(tp), 0, on_hopper).total().value;
      EXPECT_LE(bytes, last) << item.name << " TP" << tp;
      last = bytes;
    }
  }
}

TEST(RankWeights, KvHeadsReplicateWhenTensorParallelismExceedsThem) {
  const Model model = bundled_model("Qwen/Qwen2.5-7B");  // 28 heads, 4 KV heads
  const auto at4 = rank_weights(model, layout(4), 0, on_hopper).attention.value,
             at28 = rank_weights(model, layout(28), 0, on_hopper).attention.value;
  EXPECT_GT(at28 * 7, at4);  // one KV head stays on each rank
}

TEST(RankWeights, TiedEmbeddingsCountOnceButTwiceInAPipeline) {
  const Model model = bundled_model("meta-llama/Llama-3.2-1B");
  const auto one = rank_weights(model, layout(1), 0, on_hopper);
  EXPECT_EQ(one.lm_head.value, 0);
  EXPECT_EQ(rank_weights(model, layout(1, 2), 0, on_hopper).embedding, one.embedding);
  EXPECT_EQ(rank_weights(model, layout(1, 2), 1, on_hopper).embedding, one.embedding);
  EXPECT_EQ(rank_weights(model, layout(1, 4), 1, on_hopper).embedding.value, 0);
}

TEST(RankWeights, AbsorbedMatricesOfQuantisedMla) {
  // 61 layers x 128 heads x (128 + 128) x 512 x 2 bytes, measured as +2,046,820,352.
  EXPECT_EQ(rank_weights(bundled_model("deepseek-ai/DeepSeek-V3.2"), layout(1), 0, on_hopper).after_loading.value,
            2046820352);
  EXPECT_EQ(rank_weights(bundled_model("deepseek-ai/DeepSeek-V2-Lite"), layout(1), 0, on_hopper).after_loading.value,
            0);
}

TEST(RankWeights, DraftSharesEmbeddingAndHead) {
  const Model model = bundled_model("deepseek-ai/DeepSeek-V3");
  EngineConfig engine = layout(8);
  EXPECT_EQ(rank_weights(model, engine, 0, on_hopper).mtp.value, 0);
  engine.num_speculative_tokens = 1;
  const auto mtp = rank_weights(model, engine, 0, on_hopper).mtp.value;
  EXPECT_GT(mtp, 1455484064);              // the layer itself
  EXPECT_LT(mtp, 1455484064 + 250000000);  // and its projection, but no head of its own
}

TEST(WeightProgram, RefusesWhatVllmCannotConstruct) {
  std::optional<WeightRefusal> refusal;
  const Model llama = bundled_model("meta-llama/Llama-3.2-3B");  // 24 heads, 8 KV heads
  run_weights(weight_program(llama), weight_layout(llama, layout(3), 0, on_hopper), &refusal);
  EXPECT_TRUE(refusal.has_value());
  refusal.reset();
  const Model nemotron = bundled_model("nvidia/NVIDIA-Nemotron-3-Nano-30B-A3B-BF16");  // 8 Mamba groups
  run_weights(weight_program(nemotron), weight_layout(nemotron, layout(16), 0, on_hopper), &refusal);
  ASSERT_TRUE(refusal.has_value());
  EXPECT_NE(refusal->message.find("num_groups"), std::string::npos);
  refusal.reset();
  run_weights(weight_program(llama), weight_layout(llama, layout(2), 0, on_hopper), &refusal);
  EXPECT_FALSE(refusal.has_value());
}

}  // namespace
}  // namespace shardwise
