#pragma once
// What vLLM's checks ask of a model, compiled once from its config.json, so that a check costs nanoseconds.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/version.h"
#include "config/json_fwd.h"
#include "model/model.h"

namespace shardwise {

/// A row of data/vllm/architectures.csv: what vLLM's model class of one architecture supports (the interfaces it
/// implements, model_executor/models/interfaces.py). Architectures without a row are served by the Transformers
/// backend.
struct ArchitectureRow {
  std::string name;    ///< as in config.json "architectures"
  std::string module;  ///< vLLM's file, without .py
  std::string kind;    ///< text, multimodal, draft, pooling, transformers
  bool is_hybrid = false, is_attention_free = false, has_inner_state = false, supports_multimodal = false,
       has_noops = false, passes_eplb = false;
  std::vector<VllmVersion> registered_in, pp_in;  ///< of the versions that were read
  bool registered(VllmVersion version) const;
  bool supports_pp(VllmVersion version) const;
};
/// Row by name, null if no version that was read registers it.
const ArchitectureRow* find_architecture(std::string_view name);
/// Whether a version's configuration readers know this `model_type` of config.json (data/vllm/model_types.csv).
bool knows_model_type(std::string_view model_type, VllmVersion version);

/// Sizes that the constructors of the model's classes check. 0 or empty = nothing to check.
struct ConstructionFacts {
  int padded_vocab = 0;  ///< vocab_size rounded up to 64; divides by TP
  int hidden_size = 0;
  std::vector<int> kv_head_counts;      ///< distinct KV head counts of the attention layers (not MLA)
  bool kv_heads_must_cover_tp = false;  ///< class divides KV heads by TP without replicating them (gpt-oss)
  std::vector<int> row_inputs;          ///< distinct inputs of row-parallel dense layers (attention output, FFN down)
  int shared_input = 0;             ///< the same of the shared experts; whole on every rank under sequence parallelism
  int vision_heads = 0;             ///< of a vision tower that TP splits
  std::vector<int> column_outputs;  ///< distinct outputs of single column-parallel layers (MLA up-projections)
  int moe_intermediate = 0;         ///< of one routed expert (MoE TP divides)
  int linear_key_heads = 0, linear_value_heads = 0;  ///< gated delta net, KDA (TP divides)
  int mamba_heads = 0, mamba_groups = 0;             ///< Mamba-2 (TP divides heads; groups too unless there is one)
  int mamba_intermediate = 0;                        ///< Mamba-1 inner width (TP divides)
  int fp8_block_n = 0, fp8_block_k = 0;              ///< fp8 weight block
  int group_size = 0;                                ///< group along K that a row-parallel partition must hold whole
  bool passes_eplb = true;                           ///< the class hands EPLB on to its MoE layers
  bool eplb_supported = true;                        ///< the expert kernels' quantisation supports EPLB
  bool pcp_supported = false;      ///< an attention implementation with prefill context parallelism (MLA)
  std::vector<bool> layer_is_moe;  ///< per layer, for classes that need a MoE layer on every stage; else empty
};

struct ModelFacts {
  std::string name;
  std::string architecture;  ///< vLLM's class name of the model
  std::string model_type, text_model_type;
  bool transformers_backend = false;  ///< no class of vLLM's own
  bool supports_pp = true, is_hybrid = false, is_attention_free = false, supports_multimodal = false,
       is_encoder_decoder = false, is_mm_prefix_lm = false, has_inner_state = false;
  bool is_mla = false, is_moe = false;
  bool breakable_cudagraph = false;  ///< VLLM_USE_BREAKABLE_CUDAGRAPH by default: no compilation
  int num_hidden_layers = 0, num_attention_heads = 0, num_key_value_heads = 0, num_experts = 0;
  std::optional<int> num_expert_group;  ///< grouped top-k
  int num_nextn_predict_layers = 0;
  bool known_type = true;         ///< this version's configuration readers know model_type
  bool own_code = false;          ///< the repository has code of its own ("auto_map")
  bool known_class = false;       ///< some version that was read has the architecture
  bool registered = false;        ///< this vLLM version has it
  bool mtp_supported = false;     ///< `--speculative-config '{"method": "mtp"}'` finds a draft in this model
  std::optional<int> mtp_layers;  ///< how many the checkpoint has
  bool has_index_topk = false;    ///< sparse MLA with an indexer

  std::optional<double> derived_max_model_len;  ///< before a user's limit; nullopt = config.json names no length
  std::string max_len_key;
  std::optional<std::int64_t>
      default_max_model_len;  ///< what max_model_len becomes when not given (LongRoPE: the original length)
  std::optional<double> model_max_length;
  std::optional<std::int64_t> sliding_window;
  std::optional<std::int64_t> attention_chunk_size;
  std::string dtype = "float32";        ///< of the weights, as config.json says (float32 if it does not)
  bool quant_has_config = false;        ///< the checkpoint has a quantisation config
  std::string quant_checkpoint_method;  ///< its normalised quant_method; may be "" all the same
  std::string quant_format;             ///< "format" of a compressed-tensors checkpoint
  std::string quantization;             ///< the method vLLM settles on without --quantization; "" = none
  std::string modelopt_algo;            ///< quant_algo of a ModelOpt checkpoint: FP8, NVFP4, MIXED_PRECISION ...
  std::string kv_cache_dtype = "auto";  ///< what --kv-cache-dtype auto resolves to
  std::string unknown_modelopt_algo;    ///< such a quant_algo that vLLM does not know; "" = none
  ConstructionFacts construction;
  std::shared_ptr<const Json> config, text_config, quant_config;
};

/// From a read model. `version` matters for architectures and quantisation names.
ModelFacts model_facts(const Model& model, VllmVersion version = kDefaultVllmVersion);
/// `config` with --hf-overrides applied: fields replaced, objects merged. `file` names bad overrides in errors.
Json with_hf_overrides(const Json& config, const std::string& overrides, const std::string& file);
/// From config.json itself (and hf_quant_config.json, null if none).
ModelFacts model_facts(const Json& config, const Json* hf_quant_config, const std::string& name,
                       VllmVersion version = kDefaultVllmVersion);

}  // namespace shardwise
