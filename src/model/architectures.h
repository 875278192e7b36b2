#pragma once
// What a vLLM model class fixes in its code, where config.json has no field for it: one row for classes that vLLM
// builds alike.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/version.h"

namespace shardwise {

/// Biases and norms of an architecture's layers; `field` = taken from config.json (attention_bias, use_bias ...).
enum class Bias { none, field, built_in };
/// Whether there is a bias; `field`: what the config says.
inline bool resolve(Bias bias, bool field) { return bias == Bias::built_in || (bias == Bias::field && field); }
enum class QkNorm { none, field, per_head, all_heads };

/// Modules around the layers that every pipeline stage holds, not only the one that uses them.
struct OnEveryStage {
  bool embedding = false, norm = false, head = false;
};

/// Weights beyond what the layers say, and what the checkpoint calls them.
struct WeightTraits {
  OnEveryStage everywhere = {};
  const char* attention = "self_attn.";
  const char* o_proj = "o_proj";
  const char* mlp = "mlp.";  ///< of MoE layers
  const char* dense_mlp = "mlp.";
  const char* shared = "shared_experts.";
  const char* mixer = "mixer.";
  int norms = 2;  ///< hidden-sized norms per layer
  bool norm_bias = false;
  bool float_rope = false;                ///< rope table in float32
  bool replicated_qk_norm = false;        ///< norms over all heads are not sharded
  bool sequence_parallel_shared = false;  ///< shared experts follow sequence-parallel MoE
  bool sequence_parallel_dense = false;   ///< dense layers too, without pipeline parallelism
  bool no_eplb = false;
  bool gemma4 = false;
  bool deepseek_draft = false;  ///< its MTP layers have DeepSeek's form
  bool deepseek_v4 = false, kimi_k3 = false;
  bool weightless_qk_norm = false;  ///< q/k norm without weights on rotary layers (Llama 4)
  bool head_norm_per_head = false;  ///< q/k norms hold one vector per head (Cohere)
  bool interleaved_gdn = false;
  bool float_gate = false;  ///< router weight in float32
  bool mamba1_norms = false;
  bool no_rope = false;
  bool transformers_rope = false;
  bool normalizer_buffer = false;  ///< Gemma's embedding scale
  bool learned_positions = false;  ///< an embedding of positions
  bool fused_checkpoint = false;   ///< checkpoints, and LoRA adapters, hold fused matrices as one
  std::optional<VllmVersion> fused_expert_adapters = {};  ///< first version whose adapters hold gate and up in one
};

/// Names of the modules that hold a KV cache; {} = the layer's number. "" = the common name.
struct CacheNames {
  std::string_view layers = {};     ///< "model.layers.{}.", or below language_model
  std::string_view attention = {};  ///< "self_attn.attn"
  std::string_view state = {};      ///< "linear_attn"
  std::string_view draft = {};      ///< of the MTP layers, numbered from 0; "" = like the target's, numbered on
};

/// How config.json names the type of the recurrent state.
struct StateType {
  const char* field = nullptr;  ///< of the language part; null = it names none
  std::string_view otherwise = "auto";
};

/// The vision tower's class, where its weights are written down.
enum class Tower { any, qwen3_vl, gemma4, moonvit, llama4, minimax_m3 };

/// Where speculative.py hf_config_override finds how many MTP layers there are.
enum class Mtp {
  none,                         ///< no draft
  num_nextn_predict_layers,     ///< of config.json
  nextn_if_any,                 ///< the same, if above 0
  nextn_or_one,                 ///< the same, else 1
  text_num_nextn,               ///< of the language part
  text_num_nextn_or_one,        ///< the same, else 1
  text_num_mtp_modules_or_one,  ///< num_mtp_modules of the language part, else 1
  mtp_num_hidden_layers,        ///< of config.json, else of the language part
  one,
};

/// Hooks that change arguments by class: model_executor/models/config.py.
enum class Hook { none, deepseek_v32, glm_moe_dsa, gpt_oss };

struct Architecture {
  std::string_view names = {};  ///< as in config.json "architectures"; a space between two
  bool generic = false;         ///< its layers are read from the fields of config.json alone
  // ---- layers
  Bias qkv_bias = Bias::field;
  Bias o_bias = Bias::none;
  QkNorm qk_norm = QkNorm::none;
  bool gated_ffn = true;  ///< gate and up projections
  Bias ffn_bias = Bias::none;
  bool shared_expert_gate = false;
  bool output_gate = false;  ///< q_proj carries a gate unless attn_output_gate says otherwise
  bool sinks = false;
  bool correction_bias = false;  ///< router has e_score_correction_bias whatever the config says
  bool router_bias = false;
  bool moe_bias = false;            ///< biases on the expert matrices
  bool moe_on_every_stage = false;  ///< the constructor raises on a pipeline stage without a MoE layer
  bool no_kv_replication = false;   ///< KV heads must divide by TP
  WeightTraits weights = {};
  // ---- caches
  CacheNames kv = {};
  bool passes_cache_config = true;  ///< false: --kv-cache-dtype does not reach its layers
  StateType ssm_cache = {};
  bool caches_every_block = false;  ///< SupportsMambaPrefixCaching: mode "all" until 0.27
  // ---- the rest
  Tower tower = Tower::any;
  Mtp mtp = Mtp::none;  ///< where the model type has none
  Hook hook = Hook::none;
  std::optional<VllmVersion> breakable_cudagraph = {};  ///< first version seen with it (vllm.py
                                                        ///< DEFAULT_BREAKABLE_CUDAGRAPH_ARCHITECTURES)
};

/// Which of the two LoRA adapters may change: the class's embedding_modules (0.32).
struct VocabularyAdapters {
  bool embedding = false, head = false;
};
VocabularyAdapters vocabulary_adapters(const std::vector<std::string>& architectures);

/// The row of a class; that of unknown classes (generic, no names) if there is none.
const Architecture& find_traits(std::string_view architecture);
/// The row of the first of them that is known.
const Architecture& find_traits(const std::vector<std::string>& architectures);

}  // namespace shardwise
