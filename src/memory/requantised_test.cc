// A model requantised is what the published checkpoint of that format is: its weights to the byte, on every rank.
#include <gtest/gtest.h>

#include <map>

#include "memory/weights.h"
#include "model/config_facts.h"
#include "model/load.h"
#include "model/requantise.h"
#include "parallel/model_facts.h"

namespace shardwise {
namespace {

struct Nothing : TextSource {
  std::optional<std::string> read(const std::string&) override { return std::nullopt; }
};

Model load(const char* name) {
  Nothing none;
  return load_model(name, none);
}

WeightBytes weights_of(const Model& model, const EngineConfig& engine, int rank) {
  return rank_weights(weight_program(model), model, engine, rank, generation_of("nvidia", 90));
}

struct Pair {
  WeightFormat format;
  const char *plain, *stored;
};
constexpr Pair kPairs[] = {
    {WeightFormat::fp8_channel, "meta-llama/Llama-3.1-405B", "NousResearch/Hermes-3-Llama-3.1-405B-FP8"},
    {WeightFormat::fp8_channel, "meta-llama/Llama-3.1-70B", "RedHatAI/Llama-3.3-70B-Instruct-FP8-dynamic"},
    {WeightFormat::fp8_channel, "meta-llama/Llama-3.1-8B", "RedHatAI/Meta-Llama-3.1-8B-Instruct-FP8-dynamic"},
    {WeightFormat::fp8_block, "Qwen/Qwen3-8B", "Qwen/Qwen3-8B-FP8"},
    {WeightFormat::fp8_block, "Qwen/Qwen3-32B", "Qwen/Qwen3-32B-FP8"},
    {WeightFormat::fp8_block, "Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-30B-A3B-FP8"},
    {WeightFormat::fp8_block, "Qwen/Qwen3-235B-A22B", "Qwen/Qwen3-235B-A22B-FP8"},
    {WeightFormat::int8_channel, "meta-llama/Llama-3.1-8B", "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w8a8"},
    {WeightFormat::int4_group, "meta-llama/Llama-3.1-8B", "RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16"},
    {WeightFormat::awq, "Qwen/Qwen3-32B", "Qwen/Qwen3-32B-AWQ"},
    {WeightFormat::awq, "meta-llama/Llama-3.1-70B", "hugging-quants/Meta-Llama-3.1-70B-Instruct-AWQ-INT4"},
    {WeightFormat::gptq, "meta-llama/Llama-3.1-8B", "llama-3.1-8b-gptq-int4"},
};

void expect_same(const WeightBytes& a, const WeightBytes& b) {
  EXPECT_EQ(a.embedding.value, b.embedding.value);
  EXPECT_EQ(a.lm_head.value, b.lm_head.value);
  EXPECT_EQ(a.attention.value, b.attention.value);
  EXPECT_EQ(a.dense_mlp.value, b.dense_mlp.value);
  EXPECT_EQ(a.routed_experts.value, b.routed_experts.value);
  EXPECT_EQ(a.router.value, b.router.value);
  EXPECT_EQ(a.norm_other.value, b.norm_other.value);
  EXPECT_EQ(a.buffers.value, b.buffers.value);
  EXPECT_EQ(a.after_loading.value, b.after_loading.value);
}

const GpuGeneration& hopper = generation_of("nvidia", 90);

void expect_same_weights(const Model& a, const Model& b) {
  const auto program_a = weight_program(a), program_b = weight_program(b);
  for (const int tp : {1, 2, 4, 8}) {
    SCOPED_TRACE(tp);
    EngineConfig engine;
    engine.parallel.tensor_parallel_size = tp;
    engine.parallel.enable_expert_parallel = a.is_moe() && tp > 2;
    engine.max_model_len = 4096;
    expect_same(weights_of(a, engine, tp - 1), weights_of(b, engine, tp - 1));
  }
}

TEST(Requantised, IsThePublishedCheckpoint) {
  for (const auto& [format, plain, stored] : kPairs) {
    SCOPED_TRACE(stored);
    const Model made = requantised(load(plain), format), real = load(stored);
    expect_same_weights(made, real);
    EXPECT_EQ(made.quantisation.attention.method, real.quantisation.attention.method);
    EXPECT_EQ(made.quantisation.dense_mlp, real.quantisation.dense_mlp);
    EXPECT_EQ(made.quantisation.routed_experts, real.quantisation.routed_experts);
    const ModelFacts a = model_facts(made), b = model_facts(real);
    EXPECT_EQ(a.quantization, b.quantization);
    EXPECT_EQ(a.construction.fp8_block_n, b.construction.fp8_block_n);
    EXPECT_EQ(a.construction.group_size, b.construction.group_size);
    EXPECT_EQ(a.construction.row_inputs, b.construction.row_inputs);
  }
}

TEST(Requantised, AndBack) {
  for (const auto& [format, plain, stored] : kPairs) {
    SCOPED_TRACE(stored);
    const Model back = requantised(requantised(load(plain), format), WeightFormat::unquantised);
    EXPECT_EQ(back.quantisation.rules, nullptr);
    EXPECT_FALSE(model_facts(back).quant_has_config);
    expect_same_weights(back, load(plain));
  }
}

/// Every format is one, for dense models and for experts; fewer bits are fewer bytes.
TEST(Requantised, EveryFormatOfEveryKindOfModel) {
  using F = WeightFormat;
  for (const char* name : {"Qwen/Qwen3-32B", "Qwen/Qwen3-30B-A3B", "deepseek-ai/DeepSeek-V3", "openai/gpt-oss-120b"}) {
    SCOPED_TRACE(name);
    const auto bytes = [&](F format) {
      return weights_of(requantised(load(name), format), EngineConfig{}, 0).total().value;
    };
    const auto whole = bytes(F::unquantised);
    for (const F narrow : {F::fp8_channel, F::fp8_block, F::fp8_tensor, F::int8_channel}) {
      EXPECT_LT(bytes(narrow), 0.65 * static_cast<double>(whole));
      for (const F narrower : {F::int4_group, F::nvfp4, F::awq, F::gptq})
        EXPECT_LT(bytes(narrower), 0.8 * static_cast<double>(bytes(narrow)));
    }
  }
}

double total_gib(const Model& model) { return to_gib(weights_of(model, {}, 0).total()); }

// 70.6 B parameters: 131.45 GiB in 16 bits, of which 3.9 GiB are embedding and head, which no method touches.
TEST(QuantisedOnline, WeightsFollowTheMethod) {
  const Model model = load("meta-llama/Llama-3.3-70B-Instruct");
  const VllmVersion v{0, 32, 0};
  EXPECT_NEAR(total_gib(model), 131.45, 0.05);
  for (const auto& [method, gib] : std::map<std::string, double>{{"fp8", 67.70},
                                                                 {"fp8_per_tensor", 67.70},
                                                                 {"fp8_per_channel", 67.71},
                                                                 {"fp8_per_block", 67.71},
                                                                 {"mxfp8", 69.7},
                                                                 {"mxfp4", 37.8},
                                                                 {"bitsandbytes", 35.8},
                                                                 {"experts_int8", 131.45},
                                                                 {"nvfp4_per_token", 131.45}}) {
    const auto quantised = quantised_online(model, method, v);
    ASSERT_TRUE(quantised) << method;
    EXPECT_NEAR(total_gib(*quantised), gib, 0.1) << method;
    EXPECT_FALSE(config_facts(*quantised).quant_has_config) << method;
  }
}

TEST(QuantisedOnline, ExpertsFollowTheMethod) {
  for (const char* name : {"Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-VL-235B-A22B-Instruct", "mistralai/Mixtral-8x7B-v0.1"}) {
    const Model model = load(name);
    const VllmVersion v{0, 32, 0};
    const auto experts = [](const Model& m) { return static_cast<double>(weights_of(m, {}, 0).routed_experts.value); };
    const double plain = experts(model);
    for (const auto& [method, share] : std::map<std::string, double>{{"fp8", 0.5},
                                                                     {"fp8_per_channel", 0.5},
                                                                     {"fp8_per_block", 0.5},
                                                                     {"mxfp8", 0.515625},
                                                                     {"experts_int8", 0.5},
                                                                     {"int8_per_channel_weight_only", 0.5},
                                                                     {"nvfp4_per_token", 0.28125},
                                                                     {"bitsandbytes", 0.25}})
      EXPECT_NEAR(experts(quantised_online(model, method, v).value()) / plain, share, 0.005) << name << " " << method;
    const auto attention = [](const Model& m) { return weights_of(m, {}, 0).attention.value; };
    EXPECT_EQ(attention(quantised_online(model, "experts_int8", v).value()), attention(model)) << name;
    EXPECT_LT(attention(quantised_online(model, "fp8", v).value()), attention(model)) << name;
  }
}

TEST(QuantisedOnline, CheckpointsThatAreQuantisedStay) {
  EXPECT_FALSE(quantised_online(load("Qwen/Qwen3-32B-FP8"), "fp8", {0, 32, 0}));
  EXPECT_FALSE(quantised_online(load("Qwen/Qwen3-32B"), "awq", {0, 32, 0}));
}

}  // namespace
}  // namespace shardwise
