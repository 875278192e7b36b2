#pragma once
// What a model is, read once from its HF config: per layer an attention kind and an FFN kind, plus what surrounds the
// layers. Everything downstream (rules, weights, KV cache, cost) reads this; nothing here knows about ranks or GPUs.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace shardwise {

class QuantRules;    // model/quantisation.h
struct ModelSource;  // the files it was read from; only src/model looks inside

enum class DType { float32, float16, bfloat16, fp8_e4m3, fp8_e5m2, int8, int4, fp4 };
double bytes_per_element(DType dtype);  ///< 0.5 for the 4-bit kinds; scales not included
std::string to_string(DType dtype);     ///< vLLM/torch word: "bfloat16", "fp8_e4m3"

// ---- attention kinds
// -------------------------------------------------------------------------------------------------

/// Lightning indexer of sparse attention (DeepSeek-V3.2, GLM-5, MiniMax-M3): its own small cache and projections.
struct SparseIndexer {
  int num_heads = 0, head_dim = 0, topk = 0;
  bool shared = false;           ///< reuses the indices of an earlier layer: no indexer weights or cache of its own
  int block_size = 0;            ///< tokens selected together; 0 = single tokens
  bool rope_interleave = false;  ///< indexer_rope_interleave: it shares the layer's rope table
  friend bool operator==(const SparseIndexer&, const SparseIndexer&) = default;
};

/// MHA, GQA or MQA. Head counts are the model's, before any tensor parallelism.
struct FullAttention {
  int num_heads = 0, num_kv_heads = 0;
  int head_dim = 0, v_head_dim = 0;         ///< elements; v_head_dim differs from head_dim in a few models only
  std::optional<int> sliding_window;        ///< tokens seen back; nullopt = all
  std::optional<int> attention_chunk_size;  ///< Llama-4 chunked local attention
  bool qkv_bias = false, o_bias = false;
  bool qk_norm = false;                  ///< RMSNorm on q and k (per head unless qk_norm_full)
  bool qk_norm_full = false;             ///< norm over all heads together (OLMo2, MiniMax-M2)
  bool output_gate = false;              ///< q_proj is twice as wide (Qwen3-Next, Qwen3.5)
  bool sinks = false;                    ///< one learned logit per head (gpt-oss)
  bool k_eq_v = false;                   ///< values are the keys: no v_proj (Gemma 4 full layers)
  std::optional<SparseIndexer> indexer;  ///< block-sparse selection (MiniMax-M3)
  friend bool operator==(const FullAttention&, const FullAttention&) = default;
};

/// Multi-head latent attention: one latent of kv_lora_rank + qk_rope_head_dim elements per token and layer, for all
/// heads.
struct MlaAttention {
  int num_heads = 0;
  std::optional<int> q_lora_rank;
  int kv_lora_rank = 0, qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;
  std::optional<SparseIndexer> indexer;
  bool qkv_bias = false;
  bool output_gate = false;  ///< sigmoid gate on the output (Kimi-K3)
  // DeepSeek-V4: one shared key-value head of kv_lora_rank + qk_rope_head_dim, output through o_groups low-rank groups.
  std::optional<int>
      compress_ratio;  ///< tokens per compressed entry (0 = sliding window only); nullopt = not DeepSeek-V4
  std::optional<int> sliding_window;
  int o_groups = 0, o_lora_rank = 0;
  friend bool operator==(const MlaAttention&, const MlaAttention&) = default;
};

/// Layers whose state does not grow with the sequence.
struct LinearAttention {
  enum class Kind { mamba1, mamba2, gated_delta_net, kimi_delta, lightning, short_conv } kind = Kind::mamba2;
  int num_heads = 0;                         ///< value heads (GDN num_v_heads, Mamba2 num_heads)
  int num_key_heads = 0;                     ///< GDN num_k_heads; Mamba2 n_groups
  int head_dim = 0;                          ///< value head dim (Mamba2 head_dim)
  int key_head_dim = 0;                      ///< GDN key head dim; 0 for Mamba
  int state_size = 0;                        ///< Mamba ssm_state_size
  int chunk_size = 0;                        ///< tokens Mamba2 scans at once; 0: no scan in chunks
  int conv_kernel = 0;                       ///< width of the causal convolution
  int intermediate_size = 0;                 ///< Mamba inner width
  int time_step_rank = 0;                    ///< mamba1
  bool conv_bias = true, proj_bias = false;  ///< Mamba: of the convolution, of the projections
  bool inner_norm = true;                    ///< mamba2: RMSNorm before the output projection
  bool full_rank_gate = false;               ///< kimi_delta: one gate matrix instead of two low-rank ones
  friend bool operator==(const LinearAttention&, const LinearAttention&) = default;
};

/// Encoder-decoder cross attention; the KV of the encoder is kept.
struct CrossAttention {
  FullAttention shape;
  friend bool operator==(const CrossAttention&, const CrossAttention&) = default;
};

struct NoAttention {
  friend bool operator==(const NoAttention&, const NoAttention&) = default;
};

using Attention = std::variant<NoAttention, FullAttention, MlaAttention, LinearAttention, CrossAttention>;

// ---- FFN kinds
// -------------------------------------------------------------------------------------------------------

struct DenseFfn {
  int intermediate_size = 0;
  bool gated = true;  ///< gate and up projections (SwiGLU) rather than one
  bool bias = false;
  friend bool operator==(const DenseFfn&, const DenseFfn&) = default;
};

/// What stands between the two matrices of an expert, in vLLM's words (fused_moe/activation.py).
enum class MoeActivation { silu, gelu, gelu_tanh, situ, swigluoai, swigluoai_uninterleave, swiglustep, relu2_no_mul };

/// How tokens find their experts, in vLLM's words (fused_moe/config.py RoutingMethodType); softmax_only: "Default".
enum class RoutingMethod {
  unspecified,
  softmax_only,
  renormalize_naive,
  sigmoid,
  sigmoid_renorm,
  minimax2,
  deepseek_v3,
  deepseek_v4,
  llama4,
  custom
};

struct MoeFfn {
  int num_experts = 0;  ///< routed, logical
  int num_experts_per_tok = 0;
  int moe_intermediate_size = 0;  ///< of one routed expert
  int num_shared_experts = 0;
  int shared_intermediate_size = 0;  ///< of all shared experts together; 0 = none
  bool shared_expert_gate = false;   ///< sigmoid gate on the shared expert (Qwen)
  bool gated = true;
  bool bias = false;  ///< biases on expert matrices (gpt-oss)
  bool router_bias = false;
  bool correction_bias = false;            ///< e_score_correction_bias (DeepSeek-V3 family)
  std::optional<int> n_group, topk_group;  ///< grouped top-k (num_expert_group)
  std::optional<DenseFfn> parallel_dense;  ///< a dense MLP beside the experts in the same layer
  std::optional<int> latent_size;          ///< experts work in this narrower width (Nemotron-H latent MoE)
  bool latent_norm = false;                ///< latent_moe_use_norm: a norm in that width (Kimi-K3)
  MoeActivation activation = MoeActivation::silu;
  RoutingMethod routing = RoutingMethod::renormalize_naive;
  bool swiglu_limit = false;  ///< gate and up are clamped
  bool hash_routing = false;  ///< DeepSeek-V4 hash layers: token id -> expert table, no correction bias
  friend bool operator==(const MoeFfn&, const MoeFfn&) = default;
};

struct NoFfn {
  friend bool operator==(const NoFfn&, const NoFfn&) = default;
};
using Ffn = std::variant<NoFfn, DenseFfn, MoeFfn>;

struct Layer {
  Attention attention;
  Ffn ffn;
  std::optional<LinearAttention> parallel_state;  ///< state mixer beside the attention of the same layer (Falcon-H1)
  friend bool operator==(const Layer&, const Layer&) = default;
};

// ---- quantisation
// ----------------------------------------------------------------------------------------------------

/// How one linear or expert module is stored.
struct QuantScheme {
  enum class Method {
    none,
    fp8_tensor,
    fp8_channel,
    fp8_block,
    int8_channel,
    nvfp4,
    mxfp4,
    mxfp8,
    awq,
    gptq,
    int4_group,
    other
  } method = Method::none;
  int bits = 16;
  int group_size = 0;            ///< elements along K sharing a scale; 0 = per tensor/channel
  int block_n = 0, block_k = 0;  ///< fp8_block: weight block
  bool zero_points = false, desc_act = false;
  bool activations = false;         ///< activations are quantised too (W8A8, W4A4): the GEMM runs in the narrow type
  bool static_activations = false;  ///< their scales are stored (one per tensor)
  bool e8m0_scales = false;         ///< fp8_block: scales are powers of two of one byte
  friend bool operator==(const QuantScheme&, const QuantScheme&) = default;
};

/// The checkpoint's quantisation: which scheme each kind of module uses.
struct Quantisation {
  std::string quant_method;  ///< vLLM's word: "fp8", "modelopt", "compressed-tensors", "gptq", "awq", "mxfp4", ""
  QuantScheme attention, dense_mlp, routed_experts, shared_experts, lm_head,
      embedding;                            ///< per kind, ignore lists applied
  std::optional<DType> kv_cache_dtype;      ///< what the checkpoint names for the cache
  bool decides_kv_cache = false;            ///< --kv-cache-dtype auto follows it: ModelOpt checkpoints
  std::vector<std::string> ignore;          ///< patterns as written
  std::shared_ptr<const QuantRules> rules;  ///< the scheme of every single module; null if not quantised
};

/// Vision (or audio) tower and projector, by size; replicated or sharded as vLLM does.
struct VisionTower {
  int num_layers = 0, hidden_size = 0, intermediate_size = 0, num_heads = 0;
  int patch_size = 0, out_hidden_size = 0, spatial_merge_size = 1;
  int in_channels = 3, temporal_patch_size = 1, num_position_embeddings = 0, image_size = 0, deepstack_layers = 0;
  std::int64_t parameters = 0;  ///< total elements, estimated from the shapes above
  // What single towers state beyond that, or their class supplies.
  std::optional<int> head_dim, num_key_value_heads;  ///< Gemma 4
  bool standardize = false;
  std::optional<int> qkv_hidden_size;  ///< MoonViT
  bool rms_norm = false, linear_bias = true, attn_bias = true, patch_embed_proj_bias = true;
  bool patch_merger_v2 = false;  ///< mm_projector_type
  int init_pos_emb_height = 64, init_pos_emb_width = 64, init_pos_emb_time = 4;
  int projector_input_dim = 4096, projector_output_dim = 4096, vision_output_dim = 7680;  ///< Llama 4
  std::optional<int> projector_hidden_size;                                               ///< MiniMax-M3
};

/// Rotary embedding of the full-attention layers, or of the sliding ones.
struct Rope {
  double theta = 10000;
  double partial_rotary_factor = 1;
  std::optional<double> rotary_dim;  ///< elements of a head, where stated instead of the factor
  double positions = 2048;           ///< rows of its table, scaling applied
  std::string type = "default";
};

struct Model {
  std::string name;                     ///< what vllm serve is given: a hub id or a directory
  std::optional<std::string> stand_in;  ///< hub id of the bundled model whose config.json was read instead of its own
  std::vector<std::string> remarks;     ///< what to know of how it was read, one sentence each
  std::vector<std::string> architectures;
  std::string model_type;
  DType dtype = DType::bfloat16;
  int hidden_size = 0;
  int vocab_size = 0;
  bool tie_word_embeddings = false;
  std::vector<Layer> layers;  ///< target model; MTP layers not included
  int num_mtp_layers = 0;     ///< num_nextn_predict_layers
  /// Of the MTP draft, over all MTP layers. They attend as the target's last attention layer does, with an indexer of
  /// their own; Nemotron-H and DeepSeek-V4 state their kinds.
  std::vector<Layer> mtp_layers;
  std::optional<std::int64_t>
      max_position_embeddings;  ///< after rope scaling: the longest max_model_len vLLM accepts; nullopt: not stated
  std::int64_t default_max_model_len =
      0;  ///< what vLLM takes without --max-model-len (shorter than the above for LongRoPE; 2048 if not stated)
  Quantisation quantisation;
  std::optional<VisionTower> vision;
  Rope rope, sliding_rope;
  int learned_positions = 0;               ///< rows of a position embedding, for classes that have one
  int num_kv_shared_layers = 0;            ///< last layers that read the cache of earlier ones (Gemma 3n, 4)
  std::optional<int> index_topk;           ///< tokens that sparse MLA selects
  std::optional<int> hc_mult;              ///< hyper-connections: residual streams (DeepSeek-V4)
  std::optional<int> attn_res_block_size;  ///< attention over residuals (Kimi-K3)
  bool parallel_attn = true;               ///< Falcon: attention and MLP side by side on one norm
  bool bidirectional_vision = false;       ///< use_bidirectional_attention: images see both ways (Gemma 4)
  std::string ssm_cache_dtype = "auto";  ///< of the recurrent state, as config.json names it (--mamba-ssm-cache-dtype)
  bool nested_text = false;              ///< the language part is an object inside config.json
  bool generic = false;                  ///< architecture unknown: planned from its fields alone
  std::vector<std::string> fields_used, fields_ignored;  ///< of config.json (text config fields unprefixed)
  std::shared_ptr<const ModelSource> source;             ///< copies share it; null for models made by hand

  int num_hidden_layers() const { return static_cast<int>(layers.size()); }
  bool is_moe() const;  ///< any layer has routed experts
  bool is_mla() const;  ///< any layer is MLA
  bool has_full_attention() const;
  bool is_hybrid() const;  ///< attention and linear/state layers both
  bool is_attention_free() const;
  int num_attention_heads() const;   ///< of the attention layers (largest), 0 if none
  int num_key_value_heads() const;   ///< of the full-attention layers (largest); 1 for MLA; 0 if none
  int num_experts() const;           ///< routed logical experts of a MoE layer, 0 for dense
  double parameters() const;         ///< elements, all experts, MTP excluded
  double active_parameters() const;  ///< elements a token passes through
  const std::string& shape_name() const { return stand_in ? *stand_in : name; }  ///< whose config.json it is
};

}  // namespace shardwise
