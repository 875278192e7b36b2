#include "model/load.h"

#include <gtest/gtest.h>

#include <map>

#include "base/input_error.h"
#include "model/bundle.h"
#include "model/quantisation.h"

namespace shardwise {
namespace {

class MemorySource : public TextSource {
 public:
  std::map<std::string, std::string> files;
  std::optional<std::string> read(const std::string& name) override {
    const auto it = files.find(name);
    return it == files.end() ? std::nullopt : std::optional(it->second);
  }
};

TEST(Bundle, EveryModelReads) {
  MemorySource none;
  for (const auto& bundled : bundled_models()) {
    SCOPED_TRACE(bundled.name);
    const Model model = load_model(bundled.name, none);
    EXPECT_EQ(model.name, bundled.name);
    EXPECT_GT(model.num_hidden_layers(), 0);
    EXPECT_GT(model.parameters(), 1e8);
  }
}

TEST(Bundle, TheModelAskedForIsTheModelServed) {
  MemorySource none;
  for (const auto& [spec, name] : std::map<std::string, std::string>{
           {"meta-llama/Llama-3.3-70B-Instruct", "meta-llama/Llama-3.3-70B-Instruct"},
           {"meta-llama/Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"},
           {"Llama-3.1-8B-Instruct", "meta-llama/Llama-3.1-8B-Instruct"},
           {"llama-3.1-8b", "meta-llama/Llama-3.1-8B"},
           {"Qwen/QwQ-32B", "Qwen/QwQ-32B"},
           {"Qwen/Qwen3-Coder-30B-A3B-Instruct-FP8", "Qwen/Qwen3-Coder-30B-A3B-Instruct-FP8"},
           {"DeepSeek-V3.1", "deepseek-ai/DeepSeek-V3.1"},
           {"zai-org/GLM-4.7-FP8", "zai-org/GLM-4.7-FP8"},
           {"MiniMaxAI/MiniMax-M2", "MiniMaxAI/MiniMax-M2"},
           {"Qwen--Qwen3-32B", "Qwen/Qwen3-32B"},
           {"deepseek-v3", "deepseek-ai/DeepSeek-V3"},
           {"GPT-OSS-120B", "openai/gpt-oss-120b"},
           {"qwen2.5-72b", "Qwen/Qwen2.5-72B"},
           {"mistral-large-3", "mistralai/Mistral-Large-3-675B-Instruct-2512"},
           {"nvidia/Kimi-K2.5-NVFP4 (from path name)", "nvidia/Kimi-K2.5-NVFP4"}})
    EXPECT_EQ(load_model(spec, none).name, name) << spec;
  EXPECT_GE(bundled_models().size(), 150u);
}

// Every name of every bundled model: served under its own id, with a remark exactly where another's config.json is
// read.
TEST(Bundle, EveryNameIsServedAsItself) {
  MemorySource none;
  for (const auto& bundled : bundled_models()) {
    EXPECT_FALSE(load_model(bundled.name, none).stand_in) << bundled.name;
    for (const auto& alias : bundled.aliases) {
      SCOPED_TRACE(alias);
      const auto found = find_bundled(alias);
      ASSERT_TRUE(found);
      ASSERT_FALSE(found->recorded_only);
      EXPECT_EQ(load_recorded_model(alias, none).name, bundled.name);
      const Model model = load_model(alias, none);
      const bool id = alias.find('/') != std::string::npos && alias.find(' ') == std::string::npos;
      EXPECT_EQ(model.name, id ? alias : bundled.name);
      EXPECT_EQ(model.stand_in.has_value(), id);
      EXPECT_EQ(model.shape_name(), bundled.name);
      if (id) {
        ASSERT_FALSE(model.remarks.empty());
        EXPECT_NE(model.remarks.front().find(bundled.name), std::string::npos);
        EXPECT_NE(model.remarks.front().find("may differ"), std::string::npos);
      }
    }
  }
}

// Recordings may call a model by a remark, or by what is another's id.
TEST(Bundle, NamesOfRecordingsAreNoAnswers) {
  MemorySource none;
  for (const auto& bundled : bundled_models())
    for (const auto& name : bundled.recorded_as) {
      SCOPED_TRACE(name);
      EXPECT_EQ(load_recorded_model(name, none).name, bundled.name);
      if (find_bundled(name)->recorded_only) {
        EXPECT_THROW(load_model(name, none), InputError);
      }
    }
}

TEST(Bundle, WhatIsKnownToDifferDiffers) {
  MemorySource none;
  EXPECT_EQ(load_model("Qwen/QwQ-32B", none).max_position_embeddings, 40960);
  EXPECT_EQ(load_model("Qwen/Qwen2.5-32B-Instruct", none).max_position_embeddings, 32768);
  EXPECT_EQ(load_model("Qwen/Qwen2.5-32B", none).max_position_embeddings, 131072);
  EXPECT_EQ(load_model("mistralai/Mixtral-8x22B-Instruct-v0.1", none).vocab_size, 32768);
  EXPECT_EQ(load_model("moonshotai/Kimi-K2-Instruct-0905", none).max_position_embeddings, 262144);
  EXPECT_FALSE(load_model("deepseek-ai/DeepSeek-R1-Distill-Qwen-1.5B", none).tie_word_embeddings);
}

TEST(Bundle, SizesAddUpToTheName) {
  MemorySource none;
  for (const auto& [name, billions] :
       std::map<std::string, double>{{"mistralai/Mistral-Large-3-675B-Instruct-2512", 673},
                                     {"mistralai/Mistral-Small-4-119B-2603", 119},
                                     {"mistralai/Mistral-Medium-3.5-128B", 125},
                                     {"mistralai/Devstral-2-123B-Instruct-2512", 125},
                                     {"ibm-granite/granite-4.0-h-small", 32.2},
                                     {"ibm-granite/granite-4.0-h-tiny", 6.9},
                                     {"ibm-granite/granite-4.0-h-micro", 3.2},
                                     {"zai-org/GLM-4.7-Flash", 30},
                                     {"Qwen/Qwen3-VL-235B-A22B-Instruct-FP8", 235},
                                     {"Qwen/Qwen3-Next-80B-A3B-Instruct-FP8", 80},
                                     {"nvidia/NVIDIA-Nemotron-3-Super-120B-A12B-BF16", 120.6}})
    EXPECT_NEAR(load_model(name, none).parameters() / 1e9, billions, 0.02 * billions) << name;
}

TEST(Bundle, NoNameMeansTwoModels) {
  std::map<std::string, std::string> seen;
  for (const auto& model : bundled_models()) {
    EXPECT_TRUE(seen.emplace(model.name, model.name).second) << model.name;
    for (const auto& alias : model.aliases)
      EXPECT_TRUE(seen.emplace(alias, model.name).second) << alias << " of " << model.name << " and " << seen[alias];
  }
}

const char* kTiny =
    R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
  "num_attention_heads": 8, "vocab_size": 100})";

TEST(Load, DirectoryAndFileComeBeforeTheBundle) {
  MemorySource disk;
  disk.files["models/gpt-oss-120b/config.json"] = kTiny;
  for (const char* spec : {"models/gpt-oss-120b", "models/gpt-oss-120b/", "models/gpt-oss-120b/config.json"}) {
    const Model model = load_model(spec, disk);
    EXPECT_EQ(model.num_hidden_layers(), 2) << spec;
    EXPECT_EQ(model.name, "models/gpt-oss-120b") << spec;
    EXPECT_TRUE(model.remarks.empty()) << spec;
  }
  disk.files["config.json"] = kTiny;
  EXPECT_EQ(load_model("config.json", disk).name, ".");
  disk.files["models/gpt-oss-120b/hf_quant_config.json"] =
      R"({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "FP8"}})";
  EXPECT_EQ(load_model("models/gpt-oss-120b/", disk).quantisation.quant_method, "modelopt");
}

TEST(Load, AnotherFileNameIsSaid) {
  MemorySource disk;
  disk.files["models/tiny.json"] = kTiny;
  const Model model = load_model("models/tiny.json", disk);
  EXPECT_EQ(model.name, "models");
  ASSERT_EQ(model.remarks.size(), 1u);
  EXPECT_NE(model.remarks[0].find("config.json"), std::string::npos);
}

TEST(Load, FolderOfTheHubsCache) {
  MemorySource disk;
  const std::string folder = "cache/models--acme--tiny", snapshot = folder + "/snapshots/abc";
  disk.files[folder + "/refs/main"] = "abc\n";
  disk.files[snapshot + "/config.json"] = kTiny;
  EXPECT_EQ(load_model(folder, disk).name, snapshot);
  EXPECT_EQ(load_model(folder + "/", disk).name, snapshot);
  EXPECT_EQ(load_model(snapshot, disk).name, snapshot);
}

TEST(Load, QuantisationWithoutProducer) {
  MemorySource disk;
  disk.files["m/config.json"] = kTiny;
  for (const auto& [text, method] : std::map<std::string, std::string>{
           {R"({"quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8"}})", "modelopt-fp4"},
           {R"({"quantization": {"quant_algo": "FP8"}})", "modelopt"},
           {R"({"producer": {"name": "modelopt"}, "quant_algo": "FP8", "ignore": ["lm_head"]})", "modelopt"},
           {R"({"quantization": {"quant_algo": null}})", ""}}) {
    disk.files["m/hf_quant_config.json"] = text;
    const Model planned = load_model("m", disk), recorded = load_recorded_model("m", disk);
    EXPECT_EQ(planned.quantisation.quant_method, method) << text;
    EXPECT_EQ(planned.remarks.empty(), method.empty()) << text;
    EXPECT_EQ(planned.quantisation.lm_head.method, QuantScheme::Method::none) << text;
    EXPECT_EQ(recorded.quantisation.quant_method, "") << text;
  }
}

TEST(Load, MistralsOwnFormat) {
  MemorySource disk;
  disk.files["m/params.json"] =
      R"({"dim": 64, "n_layers": 4, "n_heads": 8, "n_kv_heads": 2, "head_dim": 8, "hidden_dim": 128,
    "vocab_size": 100, "norm_eps": 1e-5, "rope_theta": 1e6, "sliding_window": [32, null], "max_position_embeddings": 4096,
    "quantization": {"qformat_weight": "fp8_e4m3", "qscheme_act": "TENSOR"},
    "vision_encoder": {"hidden_size": 32, "num_channels": 3, "image_size": 64, "patch_size": 16, "intermediate_size": 64,
                       "num_hidden_layers": 2, "num_attention_heads": 4}})";
  const Model model = load_model("m", disk);
  EXPECT_EQ(model.name, "m");
  EXPECT_EQ(model.architectures.front(), "PixtralForConditionalGeneration");
  EXPECT_EQ(model.num_hidden_layers(), 4);
  EXPECT_EQ(model.num_key_value_heads(), 2);
  EXPECT_EQ(model.max_position_embeddings, 4096);
  EXPECT_EQ(model.quantisation.quant_method, "fp8");
  ASSERT_TRUE(model.vision);
  EXPECT_EQ(std::get<FullAttention>(model.layers[0].attention).sliding_window, 32);
  EXPECT_EQ(load_model("m/params.json", disk).name, "m");
  disk.files["m/config.json"] = kTiny;
  EXPECT_EQ(load_model("m", disk).num_hidden_layers(), 2);
  disk.files["bad/params.json"] = R"({"vocab_size": 1})";
  EXPECT_THROW(load_model("bad", disk), InputError);
}

TEST(Load, MistralsExperts) {
  MemorySource disk;
  disk.files["m/params.json"] =
      R"({"dim": 64, "n_layers": 3, "n_heads": 8, "n_kv_heads": 8, "head_dim": 8, "hidden_dim": 128,
    "vocab_size": 100, "norm_eps": 1e-5, "q_lora_rank": 16, "kv_lora_rank": 32, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
    "v_head_dim": 8, "llama_4_scaling": {"original_max_position_embeddings": 8192, "beta": 0.1},
    "yarn": {"factor": 2, "original_max_position_embeddings": 8192, "beta": 32, "alpha": 1, "apply_scale": false},
    "max_position_embeddings": 16384, "moe": {"num_experts": 8, "num_experts_per_tok": 2, "first_k_dense_replace": 1,
    "route_every_n": 1, "expert_hidden_dim": 32, "num_shared_experts": 1, "num_expert_groups": 1,
    "num_expert_groups_per_tok": 1, "routed_scale": 1.0}})";
  const Model model = load_model("m", disk);
  EXPECT_EQ(model.architectures.front(), "MistralLarge3ForCausalLM");
  EXPECT_TRUE(model.is_mla());
  EXPECT_EQ(model.num_experts(), 8);
  EXPECT_TRUE(std::holds_alternative<DenseFfn>(model.layers[0].ffn));
  EXPECT_TRUE(std::holds_alternative<MoeFfn>(model.layers[1].ffn));
  EXPECT_EQ(model.max_position_embeddings, 16384);
}

TEST(Load, GgufIsSaidPlainly) {
  MemorySource none;
  for (const char* spec : {"models/qwen3-8b-Q4_K_M.gguf", "unsloth/Qwen3-8B-GGUF", "unsloth/Qwen3-8B-GGUF:Q4_K_M"}) {
    try {
      load_model(spec, none);
      FAIL() << spec;
    } catch (const InputError& e) {
      EXPECT_NE(e.message.find("GGUF"), std::string::npos) << spec;
    }
  }
}

TEST(Load, HubIsAskedLast) {
  MemorySource disk, hub;
  hub.files["acme/new-model/config.json"] = kTiny;
  EXPECT_EQ(load_model("acme/new-model", disk, &hub).name, "acme/new-model");
  EXPECT_THROW(load_model("acme/other", disk, &hub), InputError);
}

TEST(Load, UnknownNameSuggestsTheNearest) {
  MemorySource none;
  for (const auto& [spec, offered] : std::map<std::string, std::string>{
           {"gpt-oss-12b", "gpt-oss-120b"},
           {"gpt-oss", "openai/gpt-oss-20b"},
           {"Llama-3.3-70B", "meta-llama/Llama-3.3-70B-Instruct"},
           {"llama3", "meta-llama/Llama-3-8B"},
           {"Llama3.3", "meta-llama/Llama-3.3-70B-Instruct"},
           {"Mistral-Large-3-675B-Instruct", "mistralai/Mistral-Large-3-675B-Instruct-2512"},
           {"Qwen3-Coder-30B", "Qwen/Qwen3-Coder-30B-A3B-Instruct"},
           {"acme/Qwen3-Coder-30B", "Qwen/Qwen3-Coder-30B-A3B-Instruct"}}) {
    try {
      load_model(spec, none);
      FAIL() << spec;
    } catch (const InputError& e) {
      EXPECT_NE(e.hint.find(offered), std::string::npos) << spec << ": " << e.hint;
    }
  }
  EXPECT_THROW(load_model("", none), InputError);
}

}  // namespace
}  // namespace shardwise
