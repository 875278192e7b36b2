#include "parallel/construction.h"

#include <algorithm>

#include "model/architectures.h"

namespace shardwise {
namespace {

/// Layers whose FFN is routed, for classes whose constructor raises when a stage has none.
std::vector<bool> moe_layers(const ModelFacts& f) {
  if (!find_traits(f.architecture).moe_on_every_stage) return {};
  std::vector<bool> out(static_cast<std::size_t>(f.num_hidden_layers), true);
  const auto& s = f.sizes;
  const int step = std::max(1, s.decoder_sparse_step);
  for (int i = 0; i < f.num_hidden_layers; ++i) {
    const auto at = static_cast<std::size_t>(i);
    if (i < s.first_k_dense_replace || (i + 1) % step != 0) out[at] = false;
    for (const int layer : s.mlp_only_layers) out[at] = out[at] && layer != i;
  }
  return out;
}

void add(std::vector<int>& list, int value) {
  if (value > 0 && std::find(list.begin(), list.end(), value) == list.end()) list.push_back(value);
}

}  // namespace

void derive_construction(ModelFacts& f, VllmVersion version) {
  const auto& s = f.sizes;
  auto& c = f.construction;
  c.padded_vocab = (s.vocab_size + 63) / 64 * 64;
  c.hidden_size = s.hidden_size;
  c.pcp_supported = f.is_mla;
  const bool mamba_only = f.is_attention_free;
  if (!f.is_mla && !mamba_only && f.num_key_value_heads > 0) {
    add(c.kv_head_counts, f.num_key_value_heads);
    add(c.kv_head_counts, s.num_global_key_value_heads);
  }
  c.kv_heads_must_cover_tp = find_traits(f.architecture).no_kv_replication;
  const int heads = f.num_attention_heads;
  const int head_dim = s.head_dim == 0 && heads ? s.hidden_size / heads : s.head_dim;
  if (f.is_mla && !s.compress_ratios) {
    if (s.attention_quantised) {
      add(c.row_inputs, heads * s.v_head_dim);
      add(c.column_outputs, heads * (s.qk_nope_head_dim + s.qk_rope_head_dim));
      add(c.column_outputs, heads * (s.qk_nope_head_dim + s.v_head_dim));
    }
  } else if (!mamba_only && !f.is_hybrid && !f.is_mla && s.attention_quantised) {
    add(c.row_inputs, heads * head_dim);
  }
  if (f.is_moe) {
    c.moe_intermediate = s.moe_intermediate;
    if (s.first_k_dense_replace > 0) add(c.row_inputs, s.first_dense_intermediate);
    // models/deepseek_v4: from 0.24 on every rank gets whole fp8 blocks, the last ones zeros.
    const bool padded = f.model_type.starts_with("deepseek_v4") && version >= VllmVersion{0, 24, 0};
    c.shared_input = padded ? 0 : s.shared_intermediate;
  } else {
    add(c.row_inputs, s.dense_intermediate);
  }
  c.linear_key_heads = s.linear_num_key_heads;
  c.linear_value_heads = s.linear_num_value_heads;
  if (f.has_inner_state) {
    c.mamba_heads = s.mamba_heads;
    c.mamba_groups = s.mamba_groups;
    c.mamba_intermediate = s.mamba1_intermediate;
  }
  if (f.quant_has_config) {
    c.fp8_block_n = s.fp8_block_n, c.fp8_block_k = s.fp8_block_k;
    c.group_size = f.is_moe ? 0 : s.packed_group_size;
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
  if (s.pattern_without_experts) c.moe_intermediate = 0, c.passes_eplb = false, c.eplb_supported = true;
  c.vision_heads = s.vision_heads;
  c.layer_is_moe = moe_layers(f);
}

}  // namespace shardwise
