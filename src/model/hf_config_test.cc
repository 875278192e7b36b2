// The reader of config.json: every kind of layer, aliases, defaults, lengths, and configs that cannot be read.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/input_error.h"
#include "config/json.h"
#include "model/load.h"

namespace shardwise {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

const char* kLlama = R"({
  "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 64, "intermediate_size": 128,
  "num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "vocab_size": 100,
  "max_position_embeddings": 2048})";

Model with(const char* text, const char* patch) {
  Json config = Json::parse(text);
  config.merge_patch(Json::parse(patch));
  return read_hf_config(config.dump(), "", "config.json");
}
Model llama(const char* patch = "{}") { return with(kLlama, patch); }

InputError error_of(const std::string& text) {
  try {
    read_hf_config(text, "", "config.json");
  } catch (const InputError& e) {
    return e;
  }
  return InputError("", 0, "", "no error");
}

const FullAttention& full(const Model& m, std::size_t layer) {
  return std::get<FullAttention>(m.layers[layer].attention);
}
const MoeFfn& moe(const Model& m, std::size_t layer) { return std::get<MoeFfn>(m.layers[layer].ffn); }

TEST(HfConfig, Llama) {
  const Model m = llama();
  EXPECT_EQ(m.num_hidden_layers(), 4);
  EXPECT_EQ(full(m, 0).head_dim, 8);
  EXPECT_EQ(full(m, 0).num_kv_heads, 2);
  EXPECT_FALSE(full(m, 0).sliding_window);
  EXPECT_EQ(std::get<DenseFfn>(m.layers[3].ffn).intermediate_size, 128);
  EXPECT_FALSE(m.tie_word_embeddings);
  EXPECT_EQ(m.max_position_embeddings, 2048);
  EXPECT_FALSE(m.generic);
  EXPECT_FALSE(m.is_moe() || m.is_mla() || m.is_hybrid() || m.is_attention_free());
}

TEST(HfConfig, UnknownArchitectureIsPlannedFromItsFields) {
  const Model m = llama(R"({"architectures": ["BrandNewForCausalLM"], "model_type": "brand_new", "secret_knob": 3})");
  EXPECT_TRUE(m.generic);
  EXPECT_THAT(m.fields_used, Contains("hidden_size"));
  EXPECT_THAT(m.fields_ignored, Contains("secret_knob"));
}

TEST(HfConfig, AliasesOfOlderModels) {
  const Model m = read_hf_config(
      R"({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 64, "n_layer": 3, "n_head": 4, "n_positions": 512, "vocab_size": 100})",
      "", "c");
  EXPECT_EQ(m.hidden_size, 64);
  EXPECT_EQ(m.num_hidden_layers(), 3);
  EXPECT_EQ(std::get<DenseFfn>(m.layers[0].ffn).intermediate_size, 256);
  EXPECT_FALSE(std::get<DenseFfn>(m.layers[0].ffn).gated);
  EXPECT_TRUE(full(m, 0).qkv_bias && full(m, 0).o_bias);
  EXPECT_TRUE(m.tie_word_embeddings);  // what its configuration class says
  EXPECT_EQ(m.max_position_embeddings, 512);
}

TEST(HfConfig, FalconSharesOneKvHead) {
  const Model m = read_hf_config(
      R"({"architectures": ["FalconForCausalLM"], "model_type": "falcon", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 8, "vocab_size": 100, "multi_query": true})",
      "", "c");
  EXPECT_EQ(m.num_key_value_heads(), 1);
  EXPECT_EQ(std::get<DenseFfn>(m.layers[0].ffn).intermediate_size, 256);
}

TEST(HfConfig, NullBeatsTheClassDefault) {
  const Model m = read_hf_config(
      R"({"architectures": ["DeepseekV2ForCausalLM"], "model_type": "deepseek_v2", "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2,
    "num_attention_heads": 8, "vocab_size": 100, "n_routed_experts": null, "kv_lora_rank": 32, "q_lora_rank": null, "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 16})",
      "", "c");
  EXPECT_TRUE(m.is_mla());
  EXPECT_FALSE(std::get<MlaAttention>(m.layers[0].attention).q_lora_rank);
}

TEST(HfConfig, WindowsByLayerTypePatternOrModel) {
  const Model typed = llama(
      R"({"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention", "sliding_attention", "full_attention"]})");
  EXPECT_EQ(full(typed, 0).sliding_window, 16);
  EXPECT_FALSE(full(typed, 1).sliding_window);
  const Model gemma2 =
      llama(R"({"architectures": ["Gemma2ForCausalLM"], "model_type": "gemma2", "sliding_window": 16})");
  EXPECT_TRUE(full(gemma2, 0).sliding_window && !full(gemma2, 1).sliding_window);
  const Model gemma3 = llama(
      R"({"architectures": ["Gemma3ForCausalLM"], "model_type": "gemma3_text", "num_hidden_layers": 7, "sliding_window": 16})");
  EXPECT_TRUE(full(gemma3, 4).sliding_window && !full(gemma3, 5).sliding_window && full(gemma3, 6).sliding_window);
  const Model mistral =
      llama(R"({"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": 16})");
  EXPECT_EQ(full(mistral, 3).sliding_window, 16);
  const Model off = llama(
      R"({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "sliding_window": 16, "use_sliding_window": false})");
  EXPECT_FALSE(full(off, 3).sliding_window);
}

TEST(HfConfig, WhichLayersHaveExperts) {
  const char* base = R"({"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32})";
  const auto experts = [&](const char* patch) {
    Json config = Json::parse(kLlama);
    config.merge_patch(Json::parse(base));
    config.merge_patch(Json::parse(patch));
    const Model m = read_hf_config(config.dump(), "", "c");
    std::string out;
    for (const auto& layer : m.layers) out += std::holds_alternative<MoeFfn>(layer.ffn) ? 'E' : 'd';
    return out;
  };
  EXPECT_EQ(experts("{}"), "EEEE");
  EXPECT_EQ(experts(R"({"first_k_dense_replace": 1})"), "dEEE");
  EXPECT_EQ(experts(R"({"moe_layer_freq": [0, 1, 0, 1]})"), "dEdE");
  EXPECT_EQ(experts(R"({"decoder_sparse_step": 2})"), "dEdE");
  EXPECT_EQ(experts(R"({"mlp_only_layers": [2]})"), "EEdE");
  EXPECT_EQ(experts(R"({"interleave_moe_layer_step": 2})"), "dEdE");
  EXPECT_EQ(experts(R"({"expert_layer_period": 2, "expert_layer_offset": 1})"), "dEdE");
  EXPECT_EQ(experts(R"({"moe_layers_enum": "1,2"})"), "dEEd");
  EXPECT_EQ(experts(R"({"mlp_layer_types": ["dense", "sparse", "sparse", "dense"]})"), "dEEd");
  EXPECT_EQ(experts(R"({"num_experts": 1})"), "dddd");
}

TEST(HfConfig, SharedExperts) {
  const Model qwen = llama(
      R"({"architectures": ["Qwen2MoeForCausalLM"], "model_type": "qwen2_moe", "num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 96})");
  EXPECT_EQ(moe(qwen, 0).shared_intermediate_size, 96);
  EXPECT_TRUE(moe(qwen, 0).shared_expert_gate);
  const Model deepseek = llama(
      R"({"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "n_shared_experts": 2, "n_group": 4, "topk_group": 2, "topk_method": "noaux_tc"})");
  EXPECT_EQ(moe(deepseek, 0).shared_intermediate_size, 64);
  EXPECT_EQ(moe(deepseek, 0).n_group, 4);
  EXPECT_TRUE(moe(deepseek, 0).correction_bias);
}

TEST(HfConfig, HybridLayers) {
  const Model next = llama(
      R"({"architectures": ["Qwen3NextForCausalLM"], "model_type": "qwen3_next", "full_attention_interval": 4, "linear_num_value_heads": 4,
    "linear_num_key_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8, "num_experts": 0})");
  EXPECT_TRUE(next.is_hybrid());
  EXPECT_EQ(std::get<LinearAttention>(next.layers[0].attention).kind, LinearAttention::Kind::gated_delta_net);
  EXPECT_TRUE(full(next, 3).output_gate);
  const Model nemotron = llama(
      R"({"architectures": ["NemotronHForCausalLM"], "model_type": "nemotron_h", "hybrid_override_pattern": "M*-E", "mamba_num_heads": 8, "mamba_head_dim": 8,
    "n_groups": 2, "ssm_state_size": 16, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32})");
  EXPECT_EQ(std::get<LinearAttention>(nemotron.layers[0].attention).kind, LinearAttention::Kind::mamba2);
  EXPECT_TRUE(std::holds_alternative<NoFfn>(nemotron.layers[1].ffn));
  EXPECT_TRUE(std::holds_alternative<DenseFfn>(nemotron.layers[2].ffn) &&
              std::holds_alternative<NoAttention>(nemotron.layers[2].attention));
  EXPECT_FALSE(moe(nemotron, 3).gated);
  const Model mamba = read_hf_config(
      R"({"architectures": ["Mamba2ForCausalLM"], "model_type": "mamba2", "hidden_size": 64, "num_hidden_layers": 2, "state_size": 16, "vocab_size": 100, "num_heads": 16, "head_dim": 8})",
      "", "c");
  EXPECT_TRUE(mamba.is_attention_free());
  EXPECT_EQ(mamba.default_max_model_len, 2048);
  EXPECT_FALSE(mamba.max_position_embeddings);
}

TEST(HfConfig, NemotronNasBlocks) {
  const Model m = llama(
      R"({"architectures": ["DeciLMForCausalLM"], "model_type": "nemotron-nas", "num_hidden_layers": 2, "num_key_value_heads": null, "intermediate_size": null, "block_configs": [
    {"attention": {"n_heads_in_group": 4}, "ffn": {"ffn_mult": 2.625}}, {"attention": {"no_op": true}, "ffn": {"no_op": true}}]})");
  EXPECT_EQ(full(m, 0).num_kv_heads, 2);
  EXPECT_EQ(std::get<DenseFfn>(m.layers[0].ffn).intermediate_size, 256);
  EXPECT_TRUE(std::holds_alternative<NoAttention>(m.layers[1].attention));
}

TEST(HfConfig, LongestLengthAsVllmDerivesIt) {
  EXPECT_EQ(llama(R"({"rope_scaling": {"rope_type": "linear", "factor": 4}})").max_position_embeddings, 8192);
  EXPECT_EQ(llama(R"({"rope_scaling": {"rope_type": "llama3", "factor": 8}})").max_position_embeddings, 2048);
  EXPECT_EQ(llama(R"({"rope_scaling": {"type": "yarn", "factor": 4}})").max_position_embeddings, 2048);
  const Model longrope =
      llama(R"({"rope_scaling": {"type": "longrope", "factor": 4}, "original_max_position_embeddings": 512})");
  EXPECT_EQ(longrope.max_position_embeddings, 2048);
  EXPECT_EQ(longrope.default_max_model_len, 512);
  EXPECT_EQ(llama(R"({"seq_length": 1024})").max_position_embeddings, 1024);
}

TEST(HfConfig, LanguagePartOfAMultimodalModel) {
  const Model m = read_hf_config(
      R"({"architectures": ["Qwen3VLForConditionalGeneration"], "model_type": "qwen3_vl", "tie_word_embeddings": true, "text_config": {"model_type": "qwen3_vl_text",
    "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 100},
    "vision_config": {"depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "patch_size": 16, "out_hidden_size": 64, "spatial_merge_size": 2, "deepstack_visual_indexes": [1]}})",
      "", "c");
  EXPECT_EQ(m.num_hidden_layers(), 2);
  EXPECT_TRUE(m.tie_word_embeddings);
  ASSERT_TRUE(m.vision);
  EXPECT_EQ(m.vision->num_layers, 3);
  EXPECT_EQ(m.vision->deepstack_layers, 1);
  EXPECT_GT(m.vision->parameters, 0);
}

TEST(HfConfig, Quantisation) {
  using Method = QuantScheme::Method;
  const Model fp8 = llama(
      R"({"quantization_config": {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [128, 128], "modules_to_not_convert": ["lm_head", "model.layers.3.mlp"]}})");
  EXPECT_EQ(fp8.quantisation.attention.method, Method::fp8_block);
  EXPECT_EQ(fp8.quantisation.dense_mlp.method, Method::none);  // the last layer that has one decides
  EXPECT_EQ(llama(R"({"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 64}})")
                .quantisation.dense_mlp.group_size,
            64);
  const Model ct = llama(
      R"({"quantization_config": {"quant_method": "compressed-tensors", "ignore": ["lm_head", "re:.*self_attn.*"], "config_groups": {"g": {"targets": ["Linear"],
    "weights": {"num_bits": 8, "type": "float", "strategy": "channel"}, "input_activations": {"num_bits": 8, "type": "float", "dynamic": true}}}}})");
  EXPECT_EQ(ct.quantisation.dense_mlp.method, Method::fp8_channel);
  EXPECT_EQ(ct.quantisation.attention.method, Method::none);
  const char* beside =
      R"({"producer": {"name": "modelopt"}, "quantization": {"quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "group_size": 16, "exclude_modules": ["lm_head", "model.layers.*.self_attn*"]}})";
  const Model nvfp4 = read_hf_config(kLlama, beside, "config.json");
  EXPECT_EQ(nvfp4.quantisation.dense_mlp.method, Method::nvfp4);
  EXPECT_EQ(nvfp4.quantisation.attention.method, Method::none);
  EXPECT_EQ(nvfp4.quantisation.kv_cache_dtype, DType::fp8_e4m3);
}

TEST(HfConfig, OverridesMerge) {
  const Model m = with_overrides(llama(), R"({"num_hidden_layers": 2})");
  EXPECT_EQ(m.num_hidden_layers(), 2);
}

TEST(HfConfig, PythonInfinityIsRead) {
  std::string text = kLlama;
  text.insert(text.rfind('}'), R"(, "time_step_limit": [0.0, Infinity], "x": NaN)");
  EXPECT_EQ(read_hf_config(text, "", "c").num_hidden_layers(), 4);
}

TEST(HfConfigErrors, MissingFieldIsNamedWithWhatToWrite) {
  const auto e = error_of(
      "{\n\"architectures\": [\"LlamaForCausalLM\"], \"model_type\": \"llama\", \"num_hidden_layers\": 2, "
      "\"vocab_size\": 10}");
  EXPECT_EQ(e.path, "hidden_size");
  EXPECT_THAT(e.what(), HasSubstr("hidden_size: is missing"));
  EXPECT_THAT(e.hint, HasSubstr("n_embd"));
}

TEST(HfConfigErrors, WrongTypesAndRanges) {
  const auto broken = [](const char* patch) {
    Json config = Json::parse(kLlama);
    config.merge_patch(Json::parse(patch));
    return error_of(config.dump(1));
  };
  const auto text = broken(R"({"hidden_size": "wide"})");
  EXPECT_EQ(text.path, "hidden_size");
  EXPECT_GT(text.line, 1);
  EXPECT_EQ(broken(R"({"hidden_size": -4})").path, "hidden_size");
  EXPECT_EQ(broken(R"({"hidden_size": 1.5})").path, "hidden_size");
  EXPECT_EQ(broken(R"({"num_hidden_layers": 1000000})").path, "num_hidden_layers");
  EXPECT_EQ(broken(R"({"num_key_value_heads": 16})").path, "num_key_value_heads");
  EXPECT_EQ(broken(R"({"layer_types": ["full_attention"]})").path, "layer_types");
  EXPECT_EQ(broken(R"({"architectures": "Llama"})").path, "architectures");
  EXPECT_EQ(broken(R"({"num_experts": 8})").path, "num_experts_per_tok");
  EXPECT_EQ(broken(R"({"num_experts": 8, "num_experts_per_tok": 9})").path, "num_experts_per_tok");
  EXPECT_EQ(error_of("[1]").message, "is not a JSON object");
  EXPECT_THAT(error_of("{\n \"a\": }").what(), HasSubstr("config.json:2"));
  EXPECT_EQ(error_of(R"({"hidden_size": 4})").path, "architectures");
}

}  // namespace
}  // namespace shardwise
