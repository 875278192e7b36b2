#include "parallel/construction.h"

#include <algorithm>
#include <set>

#include "config/json.h"

namespace shardwise {
namespace {

int integer(const Json& t, std::initializer_list<const char*> keys) {
  for (const char* key : keys)
    if (const auto it = t.find(key); it != t.end() && it->is_number()) return it->get<int>();
  return 0;
}

/// Layers whose FFN is routed, for classes whose constructor raises when a stage has none.
std::vector<bool> moe_layers(const ModelFacts& f, const Json& t) {
  static const std::set<std::string, std::less<>> raising = {"AfmoeForCausalLM",
                                                             "Glm4MoeForCausalLM",
                                                             "HYV3ForCausalLM",
                                                             "InternS1ProForConditionalGeneration",
                                                             "Lfm2MoeForCausalLM",
                                                             "MixtralForCausalLM",
                                                             "Qwen3_5MoeForCausalLM",
                                                             "Qwen3_5MoeForConditionalGeneration",
                                                             "Qwen3MoeForCausalLM",
                                                             "Qwen3NextForCausalLM",
                                                             "Qwen3VLMoeForConditionalGeneration",
                                                             "SarvamMLAForCausalLM",
                                                             "Step3p5ForCausalLM"};
  if (!raising.contains(f.architecture)) return {};
  std::vector<bool> out(static_cast<std::size_t>(f.num_hidden_layers), true);
  const int dense_first = integer(t, {"first_k_dense_replace"}),
            step = std::max(1, integer(t, {"decoder_sparse_step"}));
  for (int i = 0; i < f.num_hidden_layers; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (i < dense_first || (i + 1) % step != 0) out[at] = false;
    if (const auto it = t.find("mlp_only_layers"); it != t.end() && it->is_array())
      for (const auto& layer : *it) out[at] = out[at] && layer != i;
  }
  return out;
}

/// Towers whose attention divides its heads by TP. Others fall back to a whole tower (MoonViT, InternViT) or hold one
/// anyway (Gemma 4).
bool splits_vision_heads(const ModelFacts& f) {
  for (const std::string_view type :
       {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "qwen3_6", "glm4v", "llama4", "gemma3", "llava", "mistral3"})
    if (f.model_type.starts_with(type)) return true;
  return false;
}

bool ignores(const Json* quant, std::initializer_list<std::string_view> words) {
  if (!quant) return false;
  for (const char* key : {"modules_to_not_convert", "ignored_layers", "ignore"})
    if (const auto it = quant->find(key); it != quant->end() && it->is_array())
      for (const auto& entry : *it)
        if (entry.is_string())
          for (const auto word : words)
            if (entry.get_ref<const std::string&>().find(word) != std::string::npos) return true;
  return false;
}

void add(std::vector<int>& list, int value) {
  if (value > 0 && std::find(list.begin(), list.end(), value) == list.end()) list.push_back(value);
}

}  // namespace

void derive_construction(ModelFacts& f) {
  const Json& t = *f.text_config;
  auto& c = f.construction;
  const int vocab = integer(t, {"vocab_size"});
  c.padded_vocab = (vocab + 63) / 64 * 64;
  c.hidden_size = integer(t, {"hidden_size", "n_embd", "d_model"});
  c.pcp_supported = f.is_mla;
  const bool mamba_only = f.is_attention_free;
  if (!f.is_mla && !mamba_only && f.num_key_value_heads > 0) {
    add(c.kv_head_counts, f.num_key_value_heads);
    add(c.kv_head_counts, integer(t, {"num_global_key_value_heads"}));
  }
  c.kv_heads_must_cover_tp = f.architecture == "GptOssForCausalLM";
  const int heads = f.num_attention_heads;
  const auto* quant = f.quant_config.get();
  const bool attention_quantised = !ignores(quant, {"self_attn", "attn", "q_proj", "o_proj"});
  int head_dim = integer(t, {"head_dim"});
  if (!head_dim && heads) head_dim = c.hidden_size / heads;
  std::vector<int> inputs;
  if (f.is_mla && !t.contains("compress_ratios")) {
    const int nope = integer(t, {"qk_nope_head_dim"}), rope = integer(t, {"qk_rope_head_dim"}),
              v = integer(t, {"v_head_dim"});
    if (attention_quantised) {
      add(inputs, heads * v);
      add(c.column_outputs, heads * (nope + rope));
      add(c.column_outputs, heads * (nope + v));
    }
  } else if (!mamba_only && !f.is_hybrid && !f.is_mla && attention_quantised) {
    add(inputs, heads * head_dim);
  }
  if (f.is_moe) {
    c.moe_intermediate = integer(t, {"moe_intermediate_size", "intermediate_size", "ffn_hidden_size"});
    if (integer(t, {"moe_latent_size"})) c.moe_intermediate = integer(t, {"moe_intermediate_size"});
    if (integer(t, {"first_k_dense_replace"}) > 0) add(inputs, integer(t, {"intermediate_size"}));
    const int shared = integer(t, {"n_shared_experts"});
    c.shared_input =
        shared ? shared * integer(t, {"moe_intermediate_size"}) : integer(t, {"shared_expert_intermediate_size"});
    // models/deepseek_v4: every rank gets whole fp8 blocks, the last ones zeros.
    if (f.model_type.starts_with("deepseek_v4")) c.shared_input = 0;
  } else {
    add(inputs, integer(t, {"intermediate_size", "ffn_dim", "n_inner"}));
  }
  c.linear_key_heads = integer(t, {"linear_num_key_heads"});
  c.linear_value_heads = integer(t, {"linear_num_value_heads"});
  if (f.has_inner_state) {
    c.mamba_heads = integer(t, {"mamba_num_heads", "mamba_n_heads"});
    c.mamba_groups = integer(t, {"mamba_n_groups"});
    if (!c.mamba_groups && c.mamba_heads) c.mamba_groups = integer(t, {"n_groups"});
    if (f.model_type == "mamba2") c.mamba_heads = integer(t, {"num_heads"}), c.mamba_groups = integer(t, {"n_groups"});
    if (f.model_type == "jamba") c.mamba_intermediate = integer(t, {"mamba_expand"}) * c.hidden_size;
    if (f.model_type == "mamba") c.mamba_intermediate = integer(t, {"intermediate_size"});
  }
  if (quant) {
    if (const auto it = quant->find("weight_block_size"); it != quant->end() && it->is_array() && it->size() == 2)
      c.fp8_block_n = (*it)[0].get<int>(), c.fp8_block_k = (*it)[1].get<int>();
    if (f.quant_checkpoint_method == "compressed-tensors" && f.quant_format == "pack-quantized")
      if (const auto groups = quant->find("config_groups"); groups != quant->end() && groups->is_object())
        for (const auto& [name, group] : groups->items())
          if (const auto weights = group.find("weights"); weights != group.end() && weights->is_object())
            if (const auto size = weights->find("group_size"); size != weights->end() && size->is_number())
              c.group_size = std::max(c.group_size, size->get<int>());
    if (f.is_moe) c.group_size = 0;
    if (f.quant_checkpoint_method == "compressed-tensors")
      c.eplb_supported = f.quant_format != "pack-quantized" && f.quant_format != "int-quantized" &&
                         f.quant_format != "mxfp4-pack-quantized";
    if (f.quant_checkpoint_method == "awq" || f.quant_checkpoint_method == "gptq" || f.modelopt_algo == "FP8" ||
        f.modelopt_algo.find("MXFP8") != std::string::npos)
      c.eplb_supported = false;
    if (f.model_type == "gpt_oss" && f.quant_checkpoint_method == "mxfp4") c.eplb_supported = false;
  }
  if (const auto* row = find_architecture(f.architecture))
    c.passes_eplb = row->passes_eplb || row->kind == "multimodal";
  // Nemotron-H counts experts even where no layer has any.
  if (const auto pattern = t.find("hybrid_override_pattern");
      pattern != t.end() && pattern->is_string() &&
      pattern->get_ref<const std::string&>().find('E') == std::string::npos)
    c.moe_intermediate = 0, c.passes_eplb = false, c.eplb_supported = true;
  c.row_inputs = std::move(inputs);
  if (const auto vision = f.config->find("vision_config"); vision != f.config->end() && splits_vision_heads(f))
    c.vision_heads = integer(*vision, {"num_heads", "num_attention_heads"});
  c.layer_is_moe = moe_layers(f, t);
}

}  // namespace shardwise
