#include "model/architectures.h"

#include <algorithm>

namespace shardwise {
namespace {

// Source of each row: the class of that name in vLLM 0.32.0, vllm/model_executor/models/ (linear layers' bias
// arguments, q_norm / k_norm modules, gate modules).
constexpr Bias kField = Bias::field, kAlways = Bias::always, kNone = Bias::none;
constexpr ArchitectureTraits kRows[] = {
    // Llama and what vLLM builds with the Llama class
    {.name = "LlamaForCausalLM", .o_bias = kField, .ffn_bias = kField},
    {.name = "LLaMAForCausalLM", .o_bias = kField, .ffn_bias = kField},
    {.name = "MistralForCausalLM", .o_bias = kField, .ffn_bias = kField},
    {.name = "MistralModel", .o_bias = kField, .ffn_bias = kField},
    {.name = "InternLMForCausalLM", .qkv_bias = kField, .o_bias = kField},
    {.name = "InternLM3ForCausalLM", .o_bias = kField, .ffn_bias = kField},
    {.name = "AquilaForCausalLM"},
    {.name = "Phi3ForCausalLM"},
    {.name = "TeleFLMForCausalLM"},
    {.name = "CwmForCausalLM"},
    {.name = "DeciLMForCausalLM"},
    {.name = "SmolLM3ForCausalLM", .o_bias = kField},
    {.name = "Ministral3ForCausalLM"},
    {.name = "LlavaForConditionalGeneration"},
    {.name = "LlavaNextForConditionalGeneration"},
    {.name = "Mistral3ForConditionalGeneration"},
    {.name = "PixtralForConditionalGeneration"},
    {.name = "InternVLChatModel"},
    {.name = "MllamaForConditionalGeneration"},
    {.name = "Llama4ForCausalLM", .o_bias = kField, .qk_norm = QkNorm::field},
    {.name = "Llama4ForConditionalGeneration", .o_bias = kField, .qk_norm = QkNorm::field},
    {.name = "BaichuanForCausalLM", .qkv_bias = kNone},
    {.name = "BaiChuanForCausalLM", .qkv_bias = kNone},
    {.name = "SeedOssForCausalLM", .o_bias = kField, .ffn_bias = kNone},
    {.name = "GraniteForCausalLM", .o_bias = kField, .ffn_bias = kField},
    {.name = "GraniteMoeForCausalLM", .qkv_bias = kField, .o_bias = kField},
    {.name = "GraniteMoeSharedForCausalLM", .qkv_bias = kField, .o_bias = kField},
    {.name = "GraniteMoeHybridForCausalLM", .qkv_bias = kField, .o_bias = kField},
    {.name = "ApertusForCausalLM",
     .o_bias = kField,
     .qk_norm = QkNorm::per_head,
     .gated_ffn = false,
     .ffn_bias = kField},
    {.name = "ArceeForCausalLM", .o_bias = kField, .gated_ffn = false, .ffn_bias = kField},
    {.name = "StableLmForCausalLM", .qkv_bias = kField},
    {.name = "StablelmForCausalLM", .qkv_bias = kField},
    // Qwen
    {.name = "QWenLMHeadModel", .qkv_bias = kAlways},
    {.name = "Qwen2ForCausalLM", .qkv_bias = kAlways},
    {.name = "Qwen2MoeForCausalLM", .qkv_bias = kAlways, .shared_expert_gate = true},
    {.name = "Qwen2VLForConditionalGeneration", .qkv_bias = kAlways},
    {.name = "Qwen2_5_VLForConditionalGeneration", .qkv_bias = kAlways},
    {.name = "Qwen3ForCausalLM", .qk_norm = QkNorm::per_head},
    {.name = "Qwen3MoeForCausalLM", .qk_norm = QkNorm::per_head},
    {.name = "Qwen3VLForConditionalGeneration", .qk_norm = QkNorm::per_head},
    {.name = "Qwen3VLMoeForConditionalGeneration", .qk_norm = QkNorm::per_head},
    {.name = "Qwen3NextForCausalLM", .qk_norm = QkNorm::per_head, .shared_expert_gate = true, .output_gate = true},
    {.name = "Qwen3_5ForConditionalGeneration",
     .qk_norm = QkNorm::per_head,
     .shared_expert_gate = true,
     .output_gate = true},
    {.name = "Qwen3_5MoeForConditionalGeneration",
     .qk_norm = QkNorm::per_head,
     .shared_expert_gate = true,
     .output_gate = true},
    {.name = "Qwen3_5ForCausalLM", .qk_norm = QkNorm::per_head, .shared_expert_gate = true, .output_gate = true},
    {.name = "Qwen3_5MoeForCausalLM", .qk_norm = QkNorm::per_head, .shared_expert_gate = true, .output_gate = true},
    {.name = "MiMoForCausalLM", .qkv_bias = kAlways},
    {.name = "MiMoV2FlashForCausalLM", .correction_bias = true},
    // Mixture of experts of others
    {.name = "MixtralForCausalLM", .qkv_bias = kNone},
    {.name = "PhiMoEForCausalLM", .o_bias = kField},
    {.name = "OlmoeForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::all_heads},
    {.name = "FlexOlmoForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::all_heads},
    {.name = "DbrxForCausalLM", .qkv_bias = kNone},
    {.name = "ArcticForCausalLM", .qkv_bias = kNone},
    {.name = "JambaForCausalLM", .qkv_bias = kNone},
    {.name = "GptOssForCausalLM",
     .qkv_bias = kAlways,
     .o_bias = kAlways,
     .sinks = true,
     .router_bias = true,
     .moe_bias = true},
    {.name = "MiniMaxM2ForCausalLM", .qkv_bias = kField, .qk_norm = QkNorm::all_heads, .correction_bias = true},
    {.name = "MiniMaxM3ForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::per_head, .correction_bias = true},
    {.name = "MiniMaxM3SparseForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::per_head, .correction_bias = true},
    {.name = "MiniMaxM3SparseForConditionalGeneration",
     .qkv_bias = kNone,
     .qk_norm = QkNorm::per_head,
     .correction_bias = true},
    {.name = "MiniMaxText01ForCausalLM", .qkv_bias = kNone},
    {.name = "MiniMaxForCausalLM", .qkv_bias = kNone},
    {.name = "Ernie4_5ForCausalLM", .qkv_bias = kField, .o_bias = kField, .ffn_bias = kField},
    {.name = "Ernie4_5_MoeForCausalLM", .qkv_bias = kField, .correction_bias = true},
    {.name = "HunYuanMoEV1ForCausalLM", .qk_norm = QkNorm::field},
    {.name = "HunYuanDenseV1ForCausalLM", .qk_norm = QkNorm::field},
    {.name = "Dots1ForCausalLM", .qk_norm = QkNorm::per_head},
    {.name = "BailingMoeForCausalLM", .qkv_bias = kField, .o_bias = kField},
    {.name = "BailingMoeV2ForCausalLM", .qkv_bias = kField, .o_bias = kField, .qk_norm = QkNorm::field},
    {.name = "Step3p5ForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::per_head},
    {.name = "Step3p7FlashForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::per_head},
    {.name = "AfmoeForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::per_head},
    {.name = "LagunaForCausalLM", .qk_norm = QkNorm::per_head},
    // DeepSeek and MLA kin
    {.name = "DeepseekForCausalLM", .qkv_bias = kField},
    {.name = "DeepseekV2ForCausalLM"},
    {.name = "DeepseekV3ForCausalLM"},
    {.name = "DeepseekV32ForCausalLM"},
    {.name = "DeepseekV4ForCausalLM", .correction_bias = true},
    {.name = "GlmMoeDsaForCausalLM"},
    {.name = "Glm4MoeLiteForCausalLM"},
    {.name = "KimiK25ForConditionalGeneration"},
    {.name = "KimiVLForConditionalGeneration"},
    {.name = "KimiLinearForCausalLM", .correction_bias = true},
    {.name = "KimiK3ForConditionalGeneration", .correction_bias = true},
    {.name = "LongcatFlashForCausalLM"},
    {.name = "MiniCPM3ForCausalLM"},
    {.name = "MiniCPMForCausalLM", .qkv_bias = kNone},
    // GLM
    {.name = "ChatGLMModel", .qkv_bias = kAlways},
    {.name = "ChatGLMForConditionalGeneration", .qkv_bias = kAlways},
    {.name = "GlmForCausalLM", .o_bias = kNone},
    {.name = "Glm4ForCausalLM", .o_bias = kNone},
    {.name = "Glm4MoeForCausalLM", .qk_norm = QkNorm::field, .correction_bias = true},
    {.name = "Glm4vForConditionalGeneration"},
    {.name = "Glm4vMoeForConditionalGeneration", .qk_norm = QkNorm::field, .correction_bias = true},
    // Gemma
    {.name = "GemmaForCausalLM"},
    {.name = "Gemma2ForCausalLM", .o_bias = kField},
    {.name = "Gemma3ForCausalLM", .o_bias = kField, .qk_norm = QkNorm::per_head},
    {.name = "Gemma3ForConditionalGeneration", .o_bias = kField, .qk_norm = QkNorm::per_head},
    {.name = "Gemma3nForCausalLM", .o_bias = kField, .qk_norm = QkNorm::per_head},
    {.name = "Gemma3nForConditionalGeneration", .o_bias = kField, .qk_norm = QkNorm::per_head},
    {.name = "Gemma4ForCausalLM", .o_bias = kField, .qk_norm = QkNorm::per_head},
    {.name = "Gemma4ForConditionalGeneration", .o_bias = kField, .qk_norm = QkNorm::per_head},
    // OLMo, Falcon, Phi, Cohere, GPT and older classes
    {.name = "OlmoForCausalLM", .qkv_bias = kField, .o_bias = kField},
    {.name = "Olmo2ForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::all_heads},
    {.name = "Olmo3ForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::all_heads},
    {.name = "FalconForCausalLM", .qkv_bias = kField, .o_bias = kField, .gated_ffn = false, .ffn_bias = kField},
    {.name = "RWForCausalLM", .qkv_bias = kField, .o_bias = kField, .gated_ffn = false, .ffn_bias = kField},
    {.name = "FalconH1ForCausalLM", .o_bias = kField, .ffn_bias = kField},
    {.name = "FalconMambaForCausalLM"},
    {.name = "PhiForCausalLM", .qkv_bias = kAlways, .o_bias = kAlways, .gated_ffn = false, .ffn_bias = kAlways},
    {.name = "CohereForCausalLM", .qk_norm = QkNorm::field},
    {.name = "Cohere2ForCausalLM", .qk_norm = QkNorm::field},
    {.name = "GPT2LMHeadModel", .qkv_bias = kAlways, .o_bias = kAlways, .gated_ffn = false, .ffn_bias = kAlways},
    {.name = "GPTBigCodeForCausalLM", .qkv_bias = kAlways, .o_bias = kAlways, .gated_ffn = false, .ffn_bias = kAlways},
    {.name = "GPTJForCausalLM", .qkv_bias = kNone, .gated_ffn = false, .ffn_bias = kAlways},
    {.name = "GPTNeoXForCausalLM", .qkv_bias = kAlways, .o_bias = kAlways, .gated_ffn = false, .ffn_bias = kAlways},
    {.name = "BloomForCausalLM", .qkv_bias = kAlways, .o_bias = kAlways, .gated_ffn = false, .ffn_bias = kAlways},
    {.name = "OPTForCausalLM", .qkv_bias = kAlways, .o_bias = kAlways, .gated_ffn = false, .ffn_bias = kAlways},
    {.name = "MPTForCausalLM", .qkv_bias = kNone, .gated_ffn = false},
    {.name = "Starcoder2ForCausalLM", .qkv_bias = kField, .o_bias = kField, .gated_ffn = false, .ffn_bias = kField},
    {.name = "NemotronForCausalLM", .o_bias = kField, .gated_ffn = false, .ffn_bias = kField},
    {.name = "PersimmonForCausalLM", .qkv_bias = kAlways, .o_bias = kAlways, .gated_ffn = false, .ffn_bias = kAlways},
    {.name = "InternLM2ForCausalLM", .qkv_bias = kField},
    {.name = "OrionForCausalLM", .qkv_bias = kNone},
    {.name = "SolarForCausalLM", .o_bias = kField, .ffn_bias = kField},
    {.name = "ExaoneForCausalLM", .qkv_bias = kField},
    {.name = "Exaone4ForCausalLM", .qk_norm = QkNorm::per_head},
    {.name = "MambaForCausalLM"},
    {.name = "Mamba2ForCausalLM"},
    {.name = "BambaForCausalLM", .o_bias = kField},
    {.name = "Zamba2ForCausalLM"},
    {.name = "NemotronHForCausalLM", .gated_ffn = false, .correction_bias = true},
    {.name = "Lfm2ForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::per_head},
    {.name = "Lfm2MoeForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::per_head},
};

}  // namespace

const ArchitectureTraits* find_traits(const std::vector<std::string>& architectures) {
  for (const auto& name : architectures)
    for (const auto& row : kRows)
      if (name == row.name) return &row;
  return nullptr;
}

std::vector<std::string> known_architectures() {
  std::vector<std::string> names;
  for (const auto& row : kRows) names.emplace_back(row.name);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace shardwise
