#include "memory/weight_builder.h"

namespace shardwise {
namespace {

constexpr WeightFamily kDefault{};
// Source of each row: the class of that name in vLLM 0.32.0.
constexpr WeightFamily kFamilies[] = {
    {.architecture = "GPT2LMHeadModel", .attention = "attn.", .o_proj = "c_proj", .norm_bias = true, .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .no_rope = true, .learned_positions = 1},
    {.architecture = "FalconForCausalLM", .attention = "self_attention.", .o_proj = "dense", .norms = 1, .norm_bias = true, .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true},
    {.architecture = "CohereForCausalLM", .norms = 1, .embedding_everywhere = true, .norm_everywhere = true, .head_norm_per_head = true},
    {.architecture = "Cohere2ForCausalLM", .norms = 1, .embedding_everywhere = true, .norm_everywhere = true, .head_norm_per_head = true},
    {.architecture = "GemmaForCausalLM", .embedding_everywhere = true, .norm_everywhere = true, .normalizer_buffer = true},
    {.architecture = "Gemma2ForCausalLM", .norms = 4, .embedding_everywhere = true, .norm_everywhere = true, .normalizer_buffer = true},
    {.architecture = "Gemma3ForCausalLM", .norms = 4, .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .normalizer_buffer = true},
    {.architecture = "Gemma3ForConditionalGeneration", .norms = 4, .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .normalizer_buffer = true},
    {.architecture = "MixtralForCausalLM", .mlp = "block_sparse_moe.", .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .needs_experts_everywhere = true},
    {.architecture = "MiniMaxM2ForCausalLM", .mlp = "block_sparse_moe.", .no_eplb = true, .float_gate = true},
    {.architecture = "PhiMoEForCausalLM", .mlp = "block_sparse_moe.", .norm_bias = true, .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .no_eplb = true},
    {.architecture = "OlmoeForCausalLM", .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .replicated_qk_norm = true, .no_eplb = true},
    {.architecture = "GptOssForCausalLM", .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .float_rope = true, .no_kv_replication = true},
    {.architecture = "GraniteMoeForCausalLM", .mlp = "block_sparse_moe.", .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .no_eplb = true},
    {.architecture = "GraniteMoeSharedForCausalLM", .mlp = "block_sparse_moe.", .shared = "shared_mlp.", .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .no_eplb = true},
    {.architecture = "GraniteMoeHybridForCausalLM", .mlp = "block_sparse_moe.", .shared = "shared_mlp.", .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .no_eplb = true},
    {.architecture = "Qwen2MoeForCausalLM", .shared = "shared_expert.", .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .no_eplb = true},
    {.architecture = "Qwen3MoeForCausalLM", .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .needs_experts_everywhere = true},
    {.architecture = "Qwen3VLMoeForConditionalGeneration", .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .needs_experts_everywhere = true},
    {.architecture = "Qwen3NextForCausalLM", .shared = "shared_expert.", .embedding_everywhere = true, .head_everywhere = true, .sequence_parallel_shared = true, .needs_experts_everywhere = true, .interleaved_gdn = true},
    {.architecture = "Qwen3_5ForConditionalGeneration", .shared = "shared_expert.", .embedding_everywhere = true},
    {.architecture = "Qwen3_5MoeForConditionalGeneration", .shared = "shared_expert.", .embedding_everywhere = true, .sequence_parallel_shared = true, .needs_experts_everywhere = true},
    {.architecture = "Starcoder2ForCausalLM", .norm_bias = true, .transformers_rope = true},
    {.architecture = "JambaForCausalLM", .mlp = "feed_forward.", .dense_mlp = "feed_forward.", .mixer = "mamba.", .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .no_eplb = true, .mamba1_norms = true, .no_rope = true},
    {.architecture = "Mamba2ForCausalLM", .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .no_rope = true},
    {.architecture = "MambaForCausalLM", .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .no_rope = true},
    {.architecture = "NemotronHForCausalLM", .attention = "mixer.", .mlp = "mixer.", .dense_mlp = "mixer.", .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .sequence_parallel_shared = true, .no_rope = true},
    {.architecture = "Glm4MoeForCausalLM", .needs_experts_everywhere = true, .deepseek_draft = true, .float_gate = true},
    {.architecture = "MiMoV2FlashForCausalLM", .float_gate = true},
    {.architecture = "Gemma4ForConditionalGeneration", .mlp = "moe.", .norms = 4, .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .gemma4 = true, .normalizer_buffer = true},
    {.architecture = "Gemma4ForCausalLM", .mlp = "moe.", .norms = 4, .embedding_everywhere = true, .norm_everywhere = true, .head_everywhere = true, .gemma4 = true, .normalizer_buffer = true},
    {.architecture = "Llama4ForConditionalGeneration", .mlp = "feed_forward.", .dense_mlp = "feed_forward.", .shared = "shared_expert.", .sequence_parallel_shared = true, .weightless_qk_norm = true},
    {.architecture = "Llama4ForCausalLM", .mlp = "feed_forward.", .dense_mlp = "feed_forward.", .shared = "shared_expert.", .sequence_parallel_shared = true, .weightless_qk_norm = true},
    {.architecture = "DeepseekV2ForCausalLM", .sequence_parallel_shared = true},
    {.architecture = "DeepseekV3ForCausalLM", .sequence_parallel_shared = true},
    {.architecture = "DeepseekV32ForCausalLM", .sequence_parallel_shared = true, .sequence_parallel_dense = true},
    {.architecture = "GlmMoeDsaForCausalLM", .sequence_parallel_shared = true, .sequence_parallel_dense = true},
    {.architecture = "DeepseekV4ForCausalLM", .attention = "attn.", .mlp = "ffn.", .dense_mlp = "ffn.", .sequence_parallel_shared = true, .deepseek_v4 = true},
    {.architecture = "KimiK3ForConditionalGeneration", .mlp = "block_sparse_moe.", .sequence_parallel_shared = true, .no_eplb = true, .kimi_k3 = true, .no_rope = true},
    {.architecture = "KimiLinearForCausalLM", .mlp = "block_sparse_moe.", .sequence_parallel_shared = true, .no_eplb = true, .kimi_k3 = true, .no_rope = true},
    {.architecture = "KimiK25ForConditionalGeneration", .sequence_parallel_shared = true},
    {.architecture = "MiniMaxM3SparseForConditionalGeneration", .mlp = "block_sparse_moe.", .no_eplb = true, .float_gate = true},
    {.architecture = "MiniMaxM3SparseForCausalLM", .mlp = "block_sparse_moe.", .no_eplb = true, .float_gate = true},
    {.architecture = "InternLM2ForCausalLM", .embedding_everywhere = true, .norm_everywhere = true},
    {.architecture = "ArceeForCausalLM", .transformers_rope = true},
    {.architecture = "CwmForCausalLM", .transformers_rope = true},
    {.architecture = "FlexOlmoForCausalLM", .replicated_qk_norm = true, .transformers_rope = true},
    {.architecture = "GlmForCausalLM", .transformers_rope = true},
    {.architecture = "GPTBigCodeForCausalLM", .norm_bias = true, .transformers_rope = true},
    {.architecture = "GPTNeoXForCausalLM", .norm_bias = true, .transformers_rope = true},
    {.architecture = "HunYuanDenseV1ForCausalLM", .transformers_rope = true},
    {.architecture = "HunYuanMoEV1ForCausalLM", .transformers_rope = true},
    {.architecture = "Jais2ForCausalLM", .transformers_rope = true},
    {.architecture = "OlmoForCausalLM", .norms = 0, .transformers_rope = true},
    {.architecture = "Olmo2ForCausalLM", .replicated_qk_norm = true, .transformers_rope = true},
    {.architecture = "Olmo3ForCausalLM", .replicated_qk_norm = true, .transformers_rope = true},
    {.architecture = "SeedOssForCausalLM", .transformers_rope = true},
    {.architecture = "SmolLM3ForCausalLM", .transformers_rope = true},
    {.architecture = "PhiForCausalLM", .transformers_rope = true},
    {.architecture = "Glm4ForCausalLM", .norms = 4},
};

}  // namespace

const WeightFamily& weight_family(const Model& model) {
  for (const auto& name : model.architectures)
    for (const auto& row : kFamilies)
      if (name == row.architecture) return row;
  return kDefault;
}

}  // namespace shardwise
