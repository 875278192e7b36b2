#include "model/architectures.h"

#include <algorithm>
#include <cassert>
#include <unordered_map>

namespace shardwise {
namespace {

constexpr Bias kField = Bias::field, kAlways = Bias::built_in, kNone = Bias::none;
constexpr OnEveryStage kEmbedding{true, false, false}, kEmbeddingNorm{true, true, false},
    kEmbeddingHead{true, false, true}, kAll{true, true, true};

// Source of each row: the class of that name in vLLM 0.32.0, vllm/model_executor/models/ (linear layers' bias
// arguments, q_norm / k_norm modules, gate modules, module names).
// clang-format off
constexpr Architecture kRows[] = {
    // Llama and what vLLM builds with the Llama class
    {.names = "LlamaForCausalLM LLaMAForCausalLM MistralForCausalLM MistralModel InternLM3ForCausalLM "
              "GraniteForCausalLM", .o_bias = kField, .ffn_bias = kField},
    {.names = "InternLMForCausalLM", .qkv_bias = kField, .o_bias = kField},
    {.names = "AquilaForCausalLM TeleFLMForCausalLM DeciLMForCausalLM Ministral3ForCausalLM "
              "LlavaForConditionalGeneration LlavaNextForConditionalGeneration Mistral3ForConditionalGeneration "
              "PixtralForConditionalGeneration InternVLChatModel MllamaForConditionalGeneration"},
    {.names = "Phi3ForCausalLM", .weights = {.fused_checkpoint = true}},
    {.names = "CwmForCausalLM", .weights = {.transformers_rope = true}},
    {.names = "SmolLM3ForCausalLM", .o_bias = kField, .weights = {.transformers_rope = true}},
    {.names = "Llama4ForCausalLM Llama4ForConditionalGeneration", .o_bias = kField, .qk_norm = QkNorm::field,
     .weights = {.mlp = "feed_forward.", .dense_mlp = "feed_forward.", .shared = "shared_expert.",
                 .sequence_parallel_shared = true, .weightless_qk_norm = true}, .tower = Tower::llama4},
    {.names = "BaichuanForCausalLM BaiChuanForCausalLM", .qkv_bias = kNone},
    {.names = "SeedOssForCausalLM", .o_bias = kField, .ffn_bias = kNone, .weights = {.transformers_rope = true}},
    {.names = "GraniteMoeForCausalLM", .qkv_bias = kField, .o_bias = kField,
     .weights = {.everywhere = kAll, .mlp = "block_sparse_moe.", .no_eplb = true}},
    {.names = "GraniteMoeSharedForCausalLM", .qkv_bias = kField, .o_bias = kField,
     .weights = {.everywhere = kAll, .mlp = "block_sparse_moe.", .shared = "shared_mlp.", .no_eplb = true}},
    {.names = "GraniteMoeHybridForCausalLM", .qkv_bias = kField, .o_bias = kField,
     .weights = {.everywhere = kAll, .mlp = "block_sparse_moe.", .shared = "shared_mlp.", .no_eplb = true},
     .kv = {.state = "mamba"}, .caches_every_block = true},
    {.names = "ApertusForCausalLM", .o_bias = kField, .qk_norm = QkNorm::per_head, .gated_ffn = false,
     .ffn_bias = kField},
    {.names = "ArceeForCausalLM", .o_bias = kField, .gated_ffn = false, .ffn_bias = kField,
     .weights = {.transformers_rope = true}},
    {.names = "StableLmForCausalLM StablelmForCausalLM", .qkv_bias = kField},
    // Qwen
    {.names = "QWenLMHeadModel", .qkv_bias = kAlways, .kv = {.layers = "transformer.h.{}.", .attention = "attn.attn"}},
    {.names = "Qwen2ForCausalLM Qwen2VLForConditionalGeneration Qwen2_5_VLForConditionalGeneration",
     .qkv_bias = kAlways},
    {.names = "Qwen2MoeForCausalLM", .qkv_bias = kAlways, .shared_expert_gate = true,
     .weights = {.everywhere = kAll, .shared = "shared_expert.", .no_eplb = true}},
    {.names = "Qwen3ForCausalLM", .qk_norm = QkNorm::per_head},
    {.names = "Qwen3MoeForCausalLM", .qk_norm = QkNorm::per_head, .moe_on_every_stage = true,
     .weights = {.everywhere = kAll}},
    {.names = "Qwen3VLForConditionalGeneration", .qk_norm = QkNorm::per_head, .tower = Tower::qwen3_vl},
    {.names = "Qwen3VLMoeForConditionalGeneration", .qk_norm = QkNorm::per_head, .moe_on_every_stage = true,
     .weights = {.everywhere = kAll, .fused_expert_adapters = VllmVersion{0, 16, 0}}, .tower = Tower::qwen3_vl},
    {.names = "Qwen3NextForCausalLM", .qk_norm = QkNorm::per_head, .shared_expert_gate = true, .output_gate = true,
     .moe_on_every_stage = true,
     .weights = {.everywhere = kEmbeddingHead, .shared = "shared_expert.", .sequence_parallel_shared = true,
                 .interleaved_gdn = true}, .kv = {.draft = "mtp.layers.{}.self_attn.attn"}},
    {.names = "Qwen3_5ForConditionalGeneration", .qk_norm = QkNorm::per_head, .shared_expert_gate = true,
     .output_gate = true, .weights = {.everywhere = kEmbedding, .shared = "shared_expert."},
     .kv = {.draft = "mtp.layers.{}.self_attn.attn"}, .ssm_cache = {"mamba_ssm_dtype", "auto"},
     .tower = Tower::qwen3_vl},
    {.names = "Qwen3_5MoeForConditionalGeneration", .qk_norm = QkNorm::per_head, .shared_expert_gate = true,
     .output_gate = true, .moe_on_every_stage = true,
     .weights = {.everywhere = kEmbedding, .shared = "shared_expert.", .sequence_parallel_shared = true,
                 .fused_expert_adapters = VllmVersion{0, 20, 0}},
     .kv = {.draft = "mtp.layers.{}.self_attn.attn"}, .ssm_cache = {"mamba_ssm_dtype", "auto"},
     .tower = Tower::qwen3_vl},
    {.names = "Qwen3_5ForCausalLM", .qk_norm = QkNorm::per_head, .shared_expert_gate = true, .output_gate = true,
     .kv = {.draft = "mtp.layers.{}.self_attn.attn"}, .ssm_cache = {"mamba_ssm_dtype", "auto"},
     .tower = Tower::qwen3_vl},
    {.names = "Qwen3_5MoeForCausalLM", .qk_norm = QkNorm::per_head, .shared_expert_gate = true, .output_gate = true,
     .moe_on_every_stage = true, .kv = {.draft = "mtp.layers.{}.self_attn.attn"},
     .ssm_cache = {"mamba_ssm_dtype", "auto"},
     .tower = Tower::qwen3_vl},
    {.names = "MiMoForCausalLM", .qkv_bias = kAlways, .mtp = Mtp::num_nextn_predict_layers},
    {.names = "MiMoV2FlashForCausalLM", .correction_bias = true, .weights = {.float_gate = true}, .mtp = Mtp::one},
    // Mixture of experts of others
    {.names = "MixtralForCausalLM", .qkv_bias = kNone, .moe_on_every_stage = true,
     .weights = {.everywhere = kAll, .mlp = "block_sparse_moe."}},
    {.names = "PhiMoEForCausalLM", .o_bias = kField,
     .weights = {.everywhere = kAll, .mlp = "block_sparse_moe.", .norm_bias = true, .no_eplb = true}},
    {.names = "OlmoeForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::all_heads,
     .weights = {.everywhere = kAll, .replicated_qk_norm = true, .no_eplb = true}},
    {.names = "FlexOlmoForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::all_heads,
     .weights = {.replicated_qk_norm = true, .transformers_rope = true}},
    {.names = "DbrxForCausalLM", .qkv_bias = kNone,
     .kv = {.layers = "transformer.blocks.{}.", .attention = "norm_attn_norm.attn.attn"}},
    {.names = "ArcticForCausalLM MiniMaxForCausalLM", .qkv_bias = kNone},
    {.names = "JambaForCausalLM", .qkv_bias = kNone,
     .weights = {.everywhere = kAll, .mlp = "feed_forward.", .dense_mlp = "feed_forward.", .mixer = "mamba.",
                 .no_eplb = true, .mamba1_norms = true, .no_rope = true}, .kv = {.attention = "attn", .state = "mixer"},
     .caches_every_block = true},
    {.names = "GptOssForCausalLM", .qkv_bias = kAlways, .o_bias = kAlways, .sinks = true, .router_bias = true,
     .moe_bias = true, .no_kv_replication = true, .weights = {.everywhere = kAll, .float_rope = true,
                                                                  .fused_expert_adapters = VllmVersion{0, 16, 0}},
     .kv = {.attention = "attn.attn"}, .hook = Hook::gpt_oss},
    {.names = "MiniMaxM2ForCausalLM", .qkv_bias = kField, .qk_norm = QkNorm::all_heads, .correction_bias = true,
     .weights = {.mlp = "block_sparse_moe.", .no_eplb = true, .float_gate = true}},
    {.names = "MiniMaxM3ForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::per_head, .correction_bias = true,
     .tower = Tower::minimax_m3},
    {.names = "MiniMaxM3SparseForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::per_head, .correction_bias = true,
     .weights = {.mlp = "block_sparse_moe.", .no_eplb = true, .float_gate = true}, .tower = Tower::minimax_m3,
     .breakable_cudagraph = VllmVersion{0, 24, 0}},
    {.names = "MiniMaxM3SparseForConditionalGeneration", .qkv_bias = kNone, .qk_norm = QkNorm::per_head,
     .correction_bias = true, .weights = {.mlp = "block_sparse_moe.", .no_eplb = true, .float_gate = true},
     .tower = Tower::minimax_m3, .mtp = Mtp::text_num_mtp_modules_or_one, .breakable_cudagraph = VllmVersion{0, 24, 0}},
    {.names = "MiniMaxText01ForCausalLM", .qkv_bias = kNone, .kv = {.state = "self_attn"}},
    {.names = "Ernie4_5ForCausalLM", .qkv_bias = kField, .o_bias = kField, .ffn_bias = kField},
    {.names = "Ernie4_5_MoeForCausalLM", .qkv_bias = kField, .correction_bias = true},
    {.names = "HunYuanMoEV1ForCausalLM HunYuanDenseV1ForCausalLM", .qk_norm = QkNorm::field,
     .weights = {.transformers_rope = true}},
    {.names = "Dots1ForCausalLM LagunaForCausalLM", .qk_norm = QkNorm::per_head},
    {.names = "BailingMoeForCausalLM", .qkv_bias = kField, .o_bias = kField},
    {.names = "BailingMoeV2ForCausalLM", .qkv_bias = kField, .o_bias = kField, .qk_norm = QkNorm::field},
    {.names = "Step3p5ForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::per_head, .moe_on_every_stage = true,
     .mtp = Mtp::text_num_nextn_or_one},
    {.names = "Step3p7FlashForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::per_head},
    {.names = "AfmoeForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::per_head, .moe_on_every_stage = true},
    // DeepSeek and MLA kin
    {.names = "DeepseekForCausalLM", .qkv_bias = kField},
    {.names = "DeepseekV2ForCausalLM DeepseekV3ForCausalLM MistralLarge3ForCausalLM", .weights = {.sequence_parallel_shared = true}},
    {.names = "DeepseekV32ForCausalLM", .weights = {.sequence_parallel_shared = true, .sequence_parallel_dense = true},
     .hook = Hook::deepseek_v32, .breakable_cudagraph = VllmVersion{0, 29, 0}},
    {.names = "DeepseekV4ForCausalLM", .correction_bias = true,
     .weights = {.attention = "attn.", .mlp = "ffn.", .dense_mlp = "ffn.", .sequence_parallel_shared = true,
                 .deepseek_v4 = true}, .kv = {.attention = "attn"}, .breakable_cudagraph = VllmVersion{0, 24, 0}},
    {.names = "GlmMoeDsaForCausalLM", .weights = {.sequence_parallel_shared = true, .sequence_parallel_dense = true},
     .hook = Hook::glm_moe_dsa, .breakable_cudagraph = VllmVersion{0, 29, 0}},
    {.names = "Glm4MoeLiteForCausalLM", .mtp = Mtp::num_nextn_predict_layers},
    {.names = "KimiK25ForConditionalGeneration", .weights = {.sequence_parallel_shared = true},
     .tower = Tower::moonvit},
    {.names = "KimiVLForConditionalGeneration LongcatFlashForCausalLM MiniCPM3ForCausalLM"},
    {.names = "KimiLinearForCausalLM", .correction_bias = true,
     .weights = {.mlp = "block_sparse_moe.", .sequence_parallel_shared = true, .no_eplb = true, .kimi_k3 = true,
                 .no_rope = true}, .kv = {.attention = "self_attn.mla_attn.attn", .state = "self_attn"},
     .breakable_cudagraph = VllmVersion{0, 28, 0}},
    {.names = "KimiK3ForConditionalGeneration", .correction_bias = true,
     .weights = {.mlp = "block_sparse_moe.", .sequence_parallel_shared = true, .no_eplb = true, .kimi_k3 = true,
                 .no_rope = true},
     .kv = {.layers = "language_model.model.layers.{}.", .attention = "self_attn", .state = "self_attn"},
     .tower = Tower::moonvit, .breakable_cudagraph = VllmVersion{0, 28, 0}},
    {.names = "MiniCPMForCausalLM", .qkv_bias = kNone},
    // GLM
    {.names = "ChatGLMModel ChatGLMForConditionalGeneration", .qkv_bias = kAlways,
     .kv = {.layers = "transformer.encoder.layers.{}.", .attention = "self_attention.attn"}},
    {.names = "GlmForCausalLM", .o_bias = kNone, .weights = {.transformers_rope = true}},
    {.names = "Glm4ForCausalLM", .o_bias = kNone, .weights = {.norms = 4}},
    {.names = "Glm4MoeForCausalLM", .qk_norm = QkNorm::field, .correction_bias = true, .moe_on_every_stage = true,
     .weights = {.deepseek_draft = true, .float_gate = true}, .mtp = Mtp::num_nextn_predict_layers},
    {.names = "Glm4vForConditionalGeneration"},
    {.names = "Glm4vMoeForConditionalGeneration", .qk_norm = QkNorm::field, .correction_bias = true},
    // Gemma
    {.names = "GemmaForCausalLM", .weights = {.everywhere = kEmbeddingNorm, .normalizer_buffer = true}},
    {.names = "Gemma2ForCausalLM", .o_bias = kField,
     .weights = {.everywhere = kEmbeddingNorm, .norms = 4, .normalizer_buffer = true}},
    {.names = "Gemma3ForCausalLM Gemma3ForConditionalGeneration", .o_bias = kField, .qk_norm = QkNorm::per_head,
     .weights = {.everywhere = kAll, .norms = 4, .normalizer_buffer = true}},
    {.names = "Gemma3nForCausalLM Gemma3nForConditionalGeneration", .o_bias = kField, .qk_norm = QkNorm::per_head},
    {.names = "Gemma4ForCausalLM Gemma4ForConditionalGeneration", .o_bias = kField, .qk_norm = QkNorm::per_head,
     .weights = {.everywhere = kAll, .mlp = "moe.", .norms = 4, .gemma4 = true, .normalizer_buffer = true},
     .tower = Tower::gemma4},
    // OLMo, Falcon, Phi, Cohere, GPT and older classes
    {.names = "OlmoForCausalLM", .qkv_bias = kField, .o_bias = kField,
     .weights = {.norms = 0, .transformers_rope = true}},
    {.names = "Olmo2ForCausalLM Olmo3ForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::all_heads,
     .weights = {.replicated_qk_norm = true, .transformers_rope = true}},
    {.names = "FalconForCausalLM", .qkv_bias = kField, .o_bias = kField, .gated_ffn = false, .ffn_bias = kField,
     .weights = {.everywhere = kAll, .attention = "self_attention.", .o_proj = "dense", .norms = 1, .norm_bias = true},
     .kv = {.layers = "transformer.h.{}.", .attention = "self_attention.attn"}, .passes_cache_config = false},
    {.names = "RWForCausalLM", .qkv_bias = kField, .o_bias = kField, .gated_ffn = false, .ffn_bias = kField},
    {.names = "FalconH1ForCausalLM", .o_bias = kField, .ffn_bias = kField, .kv = {.state = "mamba"},
     .caches_every_block = true},
    {.names = "FalconMambaForCausalLM", .kv = {.layers = "backbone.layers.{}.", .state = "mixer"},
     .caches_every_block = true},
    {.names = "PhiForCausalLM", .qkv_bias = kAlways, .o_bias = kAlways, .gated_ffn = false, .ffn_bias = kAlways,
     .weights = {.transformers_rope = true}},
    {.names = "CohereForCausalLM Cohere2ForCausalLM", .qk_norm = QkNorm::field,
     .weights = {.everywhere = kEmbeddingNorm, .norms = 1, .head_norm_per_head = true}},
    {.names = "GPT2LMHeadModel", .qkv_bias = kAlways, .o_bias = kAlways, .gated_ffn = false, .ffn_bias = kAlways,
     .weights = {.everywhere = kAll, .attention = "attn.", .o_proj = "c_proj", .norm_bias = true, .no_rope = true,
                 .learned_positions = true}, .kv = {.layers = "transformer.h.{}.", .attention = "attn.attn"}},
    {.names = "GPTBigCodeForCausalLM", .qkv_bias = kAlways, .o_bias = kAlways, .gated_ffn = false, .ffn_bias = kAlways,
     .weights = {.norm_bias = true, .transformers_rope = true},
     .kv = {.layers = "transformer.h.{}.", .attention = "attn.attn"}},
    {.names = "GPTJForCausalLM", .qkv_bias = kNone, .gated_ffn = false, .ffn_bias = kAlways,
     .kv = {.layers = "transformer.h.{}.", .attention = "attn.attn"}},
    {.names = "GPTNeoXForCausalLM", .qkv_bias = kAlways, .o_bias = kAlways, .gated_ffn = false, .ffn_bias = kAlways,
     .weights = {.norm_bias = true, .transformers_rope = true},
     .kv = {.layers = "gpt_neox.layers.{}.", .attention = "attention.attn"}},
    {.names = "BloomForCausalLM", .qkv_bias = kAlways, .o_bias = kAlways, .gated_ffn = false, .ffn_bias = kAlways,
     .kv = {.layers = "transformer.h.{}.", .attention = "self_attention.attn"}},
    {.names = "OPTForCausalLM", .qkv_bias = kAlways, .o_bias = kAlways, .gated_ffn = false, .ffn_bias = kAlways,
     .kv = {.layers = "model.decoder.layers.{}.", .attention = "self_attn.attn"}},
    {.names = "MPTForCausalLM", .qkv_bias = kNone, .gated_ffn = false,
     .kv = {.layers = "transformer.blocks.{}.", .attention = "attn.attn"}},
    {.names = "Starcoder2ForCausalLM", .qkv_bias = kField, .o_bias = kField, .gated_ffn = false, .ffn_bias = kField,
     .weights = {.norm_bias = true, .transformers_rope = true}},
    {.names = "NemotronForCausalLM", .o_bias = kField, .gated_ffn = false, .ffn_bias = kField},
    {.names = "PersimmonForCausalLM", .qkv_bias = kAlways, .o_bias = kAlways, .gated_ffn = false, .ffn_bias = kAlways},
    {.names = "InternLM2ForCausalLM", .qkv_bias = kField, .weights = {.everywhere = kEmbeddingNorm},
     .kv = {.attention = "attention.attn"}},
    {.names = "OrionForCausalLM", .qkv_bias = kNone},
    {.names = "SolarForCausalLM", .o_bias = kField, .ffn_bias = kField},
    {.names = "ExaoneForCausalLM", .qkv_bias = kField},
    {.names = "Exaone4ForCausalLM", .qk_norm = QkNorm::per_head},
    {.names = "MambaForCausalLM Mamba2ForCausalLM", .weights = {.everywhere = kAll, .no_rope = true},
     .kv = {.layers = "backbone.layers.{}.", .state = "mixer"}, .caches_every_block = true},
    {.names = "BambaForCausalLM", .o_bias = kField, .kv = {.state = "mamba"}, .caches_every_block = true},
    {.names = "Zamba2ForCausalLM", .caches_every_block = true},
    {.names = "NemotronHForCausalLM", .gated_ffn = false, .correction_bias = true,
     .weights = {.everywhere = kAll, .attention = "mixer.", .mlp = "mixer.", .dense_mlp = "mixer.",
                 .sequence_parallel_shared = true, .no_rope = true},
     .kv = {.attention = "mixer.attn", .state = "mixer", .draft = "mtp.layers.{}.mixer.attn"},
     .ssm_cache = {"mamba_ssm_cache_dtype", "float32"}, .caches_every_block = true},
    {.names = "Lfm2ForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::per_head,
     .kv = {.attention = "self_attn.attn", .state = "short_conv"}},
    {.names = "Lfm2MoeForCausalLM", .qkv_bias = kNone, .qk_norm = QkNorm::per_head, .moe_on_every_stage = true,
     .kv = {.attention = "self_attn.attn", .state = "short_conv"}},
    // Classes whose layers are read from the fields alone (Model::generic)
    {.names = "Jais2ForCausalLM", .generic = true, .weights = {.transformers_rope = true}},
    {.names = "DeepseekV41ForCausalLM", .generic = true, .kv = {.attention = "attn"},
     .breakable_cudagraph = VllmVersion{0, 29, 0}},
    {.names = "DeepseekV4ForConditionalGeneration", .generic = true, .kv = {.attention = "attn"},
     .breakable_cudagraph = VllmVersion{0, 24, 0}},
    {.names = "Dots3NoteForCausalLM Glm5NextForCausalLM Glm5NextForConditionalGeneration HYV4ForCausalLM "
              "InklingForCausalLM InklingForConditionalGeneration Qwen4ExpForCausalLM Qwen4ExpForConditionalGeneration",
     .generic = true, .breakable_cudagraph = VllmVersion{0, 29, 0}},
    {.names = "Gemma4UnifiedForConditionalGeneration", .generic = true, .tower = Tower::gemma4},
    {.names = "GlmOcrForConditionalGeneration", .generic = true, .mtp = Mtp::num_nextn_predict_layers},
    {.names = "HYV3ForCausalLM InternS1ProForConditionalGeneration SarvamMLAForCausalLM", .generic = true,
     .moe_on_every_stage = true},
    {.names = "InternLM2VEForCausalLM", .generic = true, .kv = {.attention = "attention.attn"}},
    {.names = "Lfm2VlForConditionalGeneration", .generic = true,
     .kv = {.attention = "self_attn.attn", .state = "short_conv"}},
    {.names = "MiMoV2ForCausalLM MiMoV2OmniForCausalLM", .generic = true, .mtp = Mtp::one},
    {.names = "NemotronHPuzzleForCausalLM NemotronH_Nano_Omni_Reasoning_V3 NemotronH_Nano_VL_V2 "
              "NemotronH_Omni_Reasoning_V3 NemotronH_Super_Omni_Reasoning_V3", .generic = true,
     .kv = {.attention = "mixer.attn", .state = "mixer", .draft = "mtp.layers.{}.mixer.attn"},
     .ssm_cache = {"mamba_ssm_cache_dtype", "float32"}},
    {.names = "Step3p7ForConditionalGeneration", .generic = true, .mtp = Mtp::text_num_nextn_or_one},
};
// clang-format on

/// Classes whose embedding_modules name embedding and head, of those and the classes that they are made of.
constexpr std::string_view kVocabularyAdapters[] = {"LlamaForCausalLM",
                                                    "LLaMAForCausalLM",
                                                    "InternLM3ForCausalLM",
                                                    "AquilaForCausalLM",
                                                    "TeleFLMForCausalLM",
                                                    "Phi3ForCausalLM",
                                                    "Llama4ForCausalLM",
                                                    "DeciLMForCausalLM",
                                                    "Llama4ForConditionalGeneration",
                                                    "ApertusForCausalLM",
                                                    "ExaoneForCausalLM",
                                                    "Exaone4ForCausalLM",
                                                    "ExaoneMoeForCausalLM",
                                                    "FalconH1ForCausalLM",
                                                    "GraniteForCausalLM",
                                                    "GraniteMoeForCausalLM",
                                                    "JambaForCausalLM",
                                                    "GraniteMoeHybridForCausalLM",
                                                    "Lfm2ForCausalLM",
                                                    "Lfm2MoeForCausalLM",
                                                    "GraniteMoeSharedForCausalLM",
                                                    "MiniCPMForCausalLM",
                                                    "MiniCPM3ForCausalLM",
                                                    "HyperCLOVAXForCausalLM",
                                                    "MixtralForCausalLM",
                                                    "NemotronForCausalLM",
                                                    "NemotronHForCausalLM",
                                                    "PhiMoEForCausalLM",
                                                    "SolarForCausalLM",
                                                    "Qwen3ForCausalLM",
                                                    "Qwen3MoeForCausalLM",
                                                    "Qwen3_5ForCausalLM",
                                                    "Qwen3_5MoeForCausalLM",
                                                    "Qwen3VLForConditionalGeneration",
                                                    "Qwen3VLMoeForConditionalGeneration",
                                                    "Qwen3_5ForConditionalGeneration",
                                                    "Qwen3_5MoeForConditionalGeneration"};

constexpr Architecture kUnknown{.names = "", .generic = true};

using Index = std::unordered_map<std::string_view, const Architecture*>;

Index by_name() {
  Index out;
  for (const auto& row : kRows)
    for (std::string_view rest = row.names; !rest.empty();) {
      const auto end = std::min(rest.find(' '), rest.size());
      [[maybe_unused]] const bool fresh = out.emplace(rest.substr(0, end), &row).second;
      assert(fresh);  // a class has one row
      rest.remove_prefix(std::min(end + 1, rest.size()));
    }
  return out;
}

}  // namespace

const Architecture& find_traits(std::string_view architecture) {
  static const Index index = by_name();
  const auto it = index.find(architecture);
  return it == index.end() ? kUnknown : *it->second;
}

const Architecture& find_traits(const std::vector<std::string>& architectures) {
  for (const auto& name : architectures)
    if (const Architecture& row = find_traits(name); !row.names.empty()) return row;
  return kUnknown;
}

VocabularyAdapters vocabulary_adapters(const std::vector<std::string>& architectures) {
  for (const auto& name : architectures) {
    if (std::ranges::find(kVocabularyAdapters, name) != std::end(kVocabularyAdapters)) return {true, true};
    const bool embedding = name.starts_with("Cohere") || find_traits(name).weights.transformers_rope;
    if (embedding) return {true, false};
  }
  return {};
}

}  // namespace shardwise
