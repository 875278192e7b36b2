#include "memory/weight_builder.h"

namespace shardwise {
namespace {

constexpr WeightFamily kDefault{};
// Source of each row: the class of that name in vLLM 0.32.0.
constexpr WeightFamily kFamilies[] = {
    {.architecture = "GPT2LMHeadModel", .attention = "attn.", .o_proj = "c_proj", .norm_bias = true, .no_rope = true, .learned_positions = 1},
    {.architecture = "FalconForCausalLM", .attention = "self_attention.", .o_proj = "dense", .norms = 1, .norm_bias = true},
    {.architecture = "CohereForCausalLM", .norms = 1, .head_norm_per_head = true},
    {.architecture = "Cohere2ForCausalLM", .norms = 1, .head_norm_per_head = true},
    {.architecture = "Gemma2ForCausalLM", .norms = 4, .normalizer_buffer = true},
    {.architecture = "GemmaForCausalLM", .normalizer_buffer = true},
    {.architecture = "Gemma3ForCausalLM", .norms = 4, .normalizer_buffer = true},
    {.architecture = "Gemma3ForConditionalGeneration", .norms = 4, .normalizer_buffer = true},
    {.architecture = "MixtralForCausalLM", .mlp = "block_sparse_moe."},
    {.architecture = "MiniMaxM2ForCausalLM", .mlp = "block_sparse_moe.", .float_gate = true},
    {.architecture = "Qwen2MoeForCausalLM", .shared = "shared_expert."},
    {.architecture = "Qwen3NextForCausalLM", .shared = "shared_expert.", .interleaved_gdn = true},
    {.architecture = "Qwen3_5ForConditionalGeneration", .shared = "shared_expert."},
    {.architecture = "Qwen3_5MoeForConditionalGeneration", .shared = "shared_expert."},
    {.architecture = "Starcoder2ForCausalLM", .norm_bias = true, .separate_qkv = true, .no_rope = true},
    {.architecture = "JambaForCausalLM", .mlp = "feed_forward.", .dense_mlp = "feed_forward.", .mixer = "mamba.", .mamba1_norms = true, .no_rope = true},
    {.architecture = "Mamba2ForCausalLM", .no_rope = true},
    {.architecture = "NemotronHForCausalLM", .attention = "mixer.", .mlp = "mixer.", .dense_mlp = "mixer.", .no_rope = true},
    {.architecture = "Glm4MoeForCausalLM", .float_gate = true},
    {.architecture = "PhiForCausalLM", .attention = "self_attn.", .o_proj = "dense", .norms = 1, .norm_bias = true},
};

}  // namespace

const WeightFamily& weight_family(const Model& model) {
  for (const auto& name : model.architectures)
    for (const auto& row : kFamilies)
      if (name == row.architecture) return row;
  return kDefault;
}

}  // namespace shardwise
