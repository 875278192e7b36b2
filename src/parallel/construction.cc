#include "parallel/construction.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "model/architectures.h"
#include "parallel/experts.h"

namespace shardwise {
namespace {

const Rule rows[] = {
    {"vocab_not_divisible_by_tp", "model", "distributed/utils.py:ensure_divisibility",
     "The vocabulary, padded to a multiple of 64, divides by TP.", "a TP that divides it", always, ever},
    {"kv_heads_not_divisible_by_tp", "model", "distributed/utils.py:ensure_divisibility",
     "KV heads divide by TP, or, if there are fewer, TP divides by them (they are replicated).",
     "a TP that fits the KV heads", always, ever},
    {"kv_heads_below_tp", "model", "model_executor/layers/attention/attention.py:__init__",
     "This class does not replicate KV heads: TP is at most their number.", "a TP not above the KV heads", always,
     ever},
    {"linear_heads_not_divisible_by_tp", "model", "distributed/utils.py:ensure_divisibility",
     "Key and value heads of linear attention divide by TP.", "a TP that divides them", always, ever},
    {"mamba_heads_not_divisible_by_tp", "model", "model_executor/layers/mamba/mamba_mixer2.py:__init__",
     "Mamba heads divide by TP.", "a TP that divides them", always, ever},
    {"mamba_groups_not_divisible_by_tp", "model", "model_executor/layers/mamba/mamba_mixer2.py:__init__",
     "Mamba groups divide by TP unless there is one.", "a TP that divides them", always, ever},
    {"mamba_width_not_divisible_by_tp", "model", "distributed/utils.py:ensure_divisibility",
     "The inner width of Mamba divides by TP.", "a TP that divides it", always, ever},
    {"vision_heads_not_divisible_by_tp", "model", "distributed/utils.py:ensure_divisibility",
     "Attention heads of the vision tower divide by TP.",
     "a TP that divides them, --mm-encoder-tp-mode data, or --language-model-only", always, ever},
    {"ffn_width_not_divisible_by_tp", "model", "distributed/utils.py:ensure_divisibility",
     "Inputs of row-parallel layers (attention output, FFN down) divide by TP.", "a TP that divides them", always,
     ever},
    {"moe_width_not_divisible_by_tp", "model", "model_executor/layers/fused_moe/layer.py:FusedMoEFactory",
     "Without expert parallelism the width of an expert divides by TP x PCP x DP.",
     "--enable-expert-parallel, or fewer ranks", always, ever},
    {"fp8_block_vs_partition", "model",
     "model_executor/layers/quantization/utils/fp8_utils.py:validate_fp8_block_shape",
     "A rank's part of a layer in fp8 blocks is a multiple of the block.", "a smaller TP", always, ever},
    {"fp8_block_vs_moe_partition", "model",
     "model_executor/layers/quantization/utils/fp8_utils.py:validate_fp8_block_shape_moe",
     "A rank's part of an expert in fp8 blocks is a multiple of the block, or of at least 32 that divides both.",
     "--enable-expert-parallel, or a smaller TP", always, ever},
    {"group_size_vs_partition", "model", "distributed/utils.py:verify_group_size_divides_partition",
     "A rank's part of a quantised layer holds whole groups.", "a smaller TP", always, ever},
    {"eplb_uneven_experts", "model", "model_executor/layers/fused_moe/layer.py:FusedMoEFactory",
     "With EPLB, logical plus redundant experts divide by the expert ranks.",
     "num_redundant_experts that makes them even", always, ever},
    {"eplb_not_supported_by_quant", "model", "model_executor/layers/fused_moe/routed_experts.py:__init__",
     "Some expert quantisations have no EPLB.", "no EPLB for this checkpoint", always, ever},
    {"round_robin_more_ranks_than_experts", "model",
     "model_executor/layers/fused_moe/expert_map_manager.py:determine_expert_map",
     "Round-robin placement needs an expert for every rank.", "--expert-placement-strategy linear", always, ever},
    {"no_moe_layer_on_stage", "model", "model_executor/models: __init__ of MoE classes",
     "Some MoE classes need a MoE layer on every pipeline stage.", "a smaller --pipeline-parallel-size", always, ever},
    {"interleave_vs_block", "worker", "config/vllm.py:validate_block_size",
     "With decode context parallelism the KV block, as the attention backend leaves it, is a multiple of "
     "cp_kv_cache_interleave_size.",
     "a --cp-kv-cache-interleave-size that divides the block, or none", always, ever},
    {"pcp_without_attention_backend", "model", "platforms/cuda.py:get_attn_backend_cls",
     "Prefill context parallelism needs an attention that has it: MLA.", "--prefill-context-parallel-size 1", always,
     ever},
};

Refusal refuse(std::string_view id, std::string message) {
  for (const auto& rule : rows)
    if (rule.id == id)
      return {std::string(rule.id), std::string(rule.stage), std::string(rule.where), std::move(message),
              std::string(rule.instead)};
  return {std::string(id), "model", "", std::move(message), ""};
}

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

std::span<const Rule> construction_rules() { return rows; }

void derive_construction(ModelFacts& f) {
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
    // models/deepseek_v4: every rank gets whole fp8 blocks, the last ones zeros.
    c.shared_input = f.model_type.starts_with("deepseek_v4") ? 0 : s.shared_intermediate;
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

std::optional<Refusal> check_construction(const ModelFacts& m, const ParallelConfig& p, std::string_view quantization,
                                          std::optional<int> stage) {
  const auto& c = m.construction;
  const int tp = p.tensor_parallel_size;
  const int ranks = tp * p.prefill_context_parallel_size * p.data_parallel_size;
  const int moe_tp = p.enable_expert_parallel && ranks > 1 ? 1 : ranks;
  if (c.padded_vocab % tp != 0)
    return refuse("vocab_not_divisible_by_tp",
                  fmt::format("padded vocabulary {} is not divisible by tensor_parallel_size {}", c.padded_vocab, tp));
  for (const int kv : c.kv_head_counts) {
    if (c.kv_heads_must_cover_tp && tp > kv)
      return refuse("kv_heads_below_tp", fmt::format("{} KV heads with tensor_parallel_size {}", kv, tp));
    if (kv >= tp ? kv % tp != 0 : tp % kv != 0)
      return refuse("kv_heads_not_divisible_by_tp", fmt::format("{} KV heads with tensor_parallel_size {}", kv, tp));
  }
  if (p.prefill_context_parallel_size > 1 && !c.pcp_supported)
    return refuse("pcp_without_attention_backend",
                  fmt::format("prefill_context_parallel_size {}", p.prefill_context_parallel_size));
  if (c.linear_value_heads && (c.linear_key_heads % tp != 0 || c.linear_value_heads % tp != 0))
    return refuse("linear_heads_not_divisible_by_tp",
                  fmt::format("{} key heads, {} value heads with tensor_parallel_size {}", c.linear_key_heads,
                              c.linear_value_heads, tp));
  if (c.mamba_heads && c.mamba_heads % tp != 0)
    return refuse("mamba_heads_not_divisible_by_tp",
                  fmt::format("{} Mamba heads with tensor_parallel_size {}", c.mamba_heads, tp));
  if (c.mamba_groups > 1 && c.mamba_groups % tp != 0)
    return refuse("mamba_groups_not_divisible_by_tp",
                  fmt::format("{} Mamba groups with tensor_parallel_size {}", c.mamba_groups, tp));
  if (c.mamba_intermediate && c.mamba_intermediate % tp != 0)
    return refuse("mamba_width_not_divisible_by_tp",
                  fmt::format("Mamba width {} with tensor_parallel_size {}", c.mamba_intermediate, tp));
  if (c.vision_heads && c.vision_heads % tp != 0)
    return refuse("vision_heads_not_divisible_by_tp",
                  fmt::format("{} vision heads with tensor_parallel_size {}", c.vision_heads, tp));
  const bool fp8_blocks = c.fp8_block_n > 0 && (quantization == "fp8" || quantization == "deepseek_v4_fp8");
  // Sequence-parallel MoE layers hold their shared experts whole.
  const bool sequence_parallel = p.enable_expert_parallel && tp > 1 && p.data_parallel_size > 1 &&
                                 sequence_parallel_backend(p.all2all_backend, kDefaultVllmVersion);
  const auto row_refusal = [&](int input) -> std::optional<Refusal> {
    if (input % tp != 0)
      return refuse("ffn_width_not_divisible_by_tp",
                    fmt::format("width {} is not divisible by tensor_parallel_size {}", input, tp));
    if (fp8_blocks && tp > 1 && (input / tp) % c.fp8_block_k != 0)
      return refuse("fp8_block_vs_partition",
                    fmt::format("width {} / tensor_parallel_size {} = {} is not a multiple of the block {}", input, tp,
                                input / tp, c.fp8_block_k));
    if (c.group_size > 0 && (input / tp) % c.group_size != 0)
      return refuse("group_size_vs_partition",
                    fmt::format("width {} / tensor_parallel_size {} = {} is not a multiple of the group {}", input, tp,
                                input / tp, c.group_size));
    return std::nullopt;
  };
  for (const int input : c.row_inputs)
    if (auto refused = row_refusal(input)) return refused;
  if (c.shared_input && !sequence_parallel)
    if (auto refused = row_refusal(c.shared_input)) return refused;
  if (fp8_blocks && tp > 1)
    for (const int output : c.column_outputs)
      if ((output / tp) % c.fp8_block_n != 0)
        return refuse("fp8_block_vs_partition",
                      fmt::format("width {} / tensor_parallel_size {} = {} is not a multiple of the block {}", output,
                                  tp, output / tp, c.fp8_block_n));
  if (m.is_moe) {
    if (c.moe_intermediate && c.moe_intermediate % moe_tp != 0)
      return refuse("moe_width_not_divisible_by_tp",
                    fmt::format("expert width {} is not divisible by {} ranks", c.moe_intermediate, moe_tp));
    const int part = c.moe_intermediate / moe_tp;
    if (fp8_blocks && part && (part % c.fp8_block_n != 0 || (tp > 1 && part % c.fp8_block_k != 0))) {
      const int finer = std::gcd(std::gcd(c.fp8_block_n, c.fp8_block_k), std::gcd(part, c.hidden_size));
      if (finer < 32)
        return refuse("fp8_block_vs_moe_partition",
                      fmt::format("expert width {} / {} ranks = {} fits neither the block {} nor a part of it",
                                  c.moe_intermediate, moe_tp, part, c.fp8_block_n));
    }
    if (p.enable_eplb) {
      if (c.passes_eplb && (m.num_experts + p.num_redundant_experts) % p.expert_parallel_size() != 0)
        return refuse("eplb_uneven_experts",
                      fmt::format("{} experts + {} redundant over {} expert ranks", m.num_experts,
                                  p.num_redundant_experts, p.expert_parallel_size()));
      if (!c.eplb_supported) return refuse("eplb_not_supported_by_quant", fmt::format("quantization {}", quantization));
    }
    if (p.expert_placement_strategy == ExpertPlacement::round_robin && p.expert_parallel_size() - 1 > m.num_experts &&
        effective_placement(p, m.num_expert_group) == ExpertPlacement::round_robin)
      return refuse("round_robin_more_ranks_than_experts",
                    fmt::format("{} experts over {} expert ranks", m.num_experts, p.expert_parallel_size()));
    if (!c.layer_is_moe.empty()) {
      const int pp = p.pipeline_parallel_size, layers = m.num_hidden_layers;
      int start = 0;
      for (int k = 0; k < pp; ++k) {
        const int size = p.pp_layer_partition.empty() ? layers / pp + (k >= pp - 1 - layers % pp && k < pp - 1 ? 1 : 0)
                                                      : p.pp_layer_partition[static_cast<std::size_t>(k)];
        bool found = false;
        for (int i = start; i < std::min(start + size, layers); ++i)
          found = found || c.layer_is_moe[static_cast<std::size_t>(i)];
        start += size;
        if (!found && (!stage || *stage == k))
          return refuse("no_moe_layer_on_stage",
                        fmt::format("stage {} of {} has no MoE layer ({} layers)", k, pp, size));
      }
    }
  }
  return std::nullopt;
}

}  // namespace shardwise
