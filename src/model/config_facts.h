#pragma once
// What vLLM's checks read off a config.json, whatever the version: vLLM asks the raw fields, so these are theirs, not
// the Model's (a count that is left out is what vLLM takes it for, a list is looked at as vLLM looks at it).
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "config/json_fwd.h"
#include "model/model.h"

namespace shardwise {

/// Sizes that the constructors of the model classes check; 0 = not stated.
struct ConfigSizes {
  int vocab_size = 0, hidden_size = 0;
  int head_dim = 0, num_global_key_value_heads = 0;
  int qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;  ///< MLA
  bool compress_ratios = false;                                    ///< DeepSeek-V4
  int dense_intermediate = 0, first_dense_intermediate = 0;  ///< of all layers; of those before the first MoE layer
  int moe_intermediate = 0, shared_intermediate = 0;
  int first_k_dense_replace = 0, decoder_sparse_step = 0;
  std::vector<int> mlp_only_layers;
  bool pattern_without_experts = false;  ///< hybrid_override_pattern names no MoE layer
  int linear_num_key_heads = 0, linear_num_value_heads = 0;
  int mamba_heads = 0, mamba_groups = 0, mamba1_intermediate = 0;
  int vision_heads = 0;
  bool attention_quantised = true;  ///< the ignore lists name no attention
  int fp8_block_n = 0, fp8_block_k = 0;
  int packed_group_size = 0;  ///< compressed-tensors "pack-quantized": largest group along K
};

/// Longest model length, before a user's limit: config/model.py _get_and_verify_max_len.
struct ConfigLength {
  std::optional<double> derived;               ///< nullopt = config.json names no length
  std::string key;                             ///< the field that decided
  std::optional<std::int64_t> when_not_given;  ///< what max_model_len becomes (LongRoPE: the original length)
};

struct ConfigFacts {
  std::string architecture;  ///< vLLM's class name of the model
  std::string model_type, text_model_type;
  bool own_code = false;        ///< auto_map: the repository brings code
  bool attention_only = false;  ///< layer_types is there and names attention alone
  bool mm_prefix_lm = false;    ///< images are attended in both directions, if the class is multimodal
  bool is_encoder_decoder = false;
  bool is_mla = false, has_kv_lora_rank = false, is_moe = false;
  int num_hidden_layers = 0, num_attention_heads = 0, num_key_value_heads = 0, num_experts = 0;
  std::optional<int> num_expert_group;  ///< grouped top-k
  bool mtp_supported = false;           ///< `--speculative-config '{"method": "mtp"}'` finds a draft in this model
  std::optional<int> mtp_layers;        ///< how many the checkpoint has
  int num_nextn_predict_layers = 0;
  bool has_index_topk = false;  ///< sparse MLA with an indexer
  std::optional<std::int64_t> sliding_window;
  std::optional<std::int64_t> attention_chunk_size;
  std::optional<double> model_max_length;
  ConfigLength length, length_before_0_30;  ///< YaRN's factor counted then
  std::string dtype = "float32";            ///< of the weights, as config.json says (float32 if it does not)
  bool quant_has_config = false;            ///< the checkpoint has a quantisation config
  std::string quant_checkpoint_method;      ///< its normalised quant_method; may be "" all the same
  std::string quant_format;                 ///< "format" of a compressed-tensors checkpoint
  std::string modelopt_algo;                ///< quant_algo of a ModelOpt checkpoint: FP8, NVFP4, MIXED_PRECISION ...
  std::string kv_cache_dtype = "auto";      ///< what --kv-cache-dtype auto resolves to
  std::optional<std::string> unknown_modelopt_algo;  ///< such a quant_algo that vLLM does not know
  ConfigSizes sizes;
};

/// `hf_overrides` = vLLM's --hf-overrides, a JSON object; "" = none.
ConfigFacts config_facts(const Model& model, const std::string& hf_overrides = "");
/// From config.json itself (and hf_quant_config.json, null if none), however little of a model it states.
ConfigFacts config_facts(const Json& config, const Json* hf_quant_config);
/// `config` with --hf-overrides applied: fields replaced, objects merged. `file` names bad overrides in errors.
Json with_hf_overrides(const Json& config, const std::string& overrides, const std::string& file);

}  // namespace shardwise
