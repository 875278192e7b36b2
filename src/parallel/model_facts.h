#pragma once
// What vLLM's checks ask of a model, compiled once from its config.json, so that a check costs nanoseconds.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/version.h"
#include "model/config_facts.h"
#include "model/model.h"

namespace shardwise {

/// Versions from one that has something to before the one that lacks it again.
struct VersionSpan {
  VllmVersion since, gone;
  bool contains(VllmVersion v) const { return since <= v && v < gone; }
};

/// A row of data/vllm/architectures.csv: what vLLM's model class of one architecture supports (the interfaces it
/// implements, model_executor/models/interfaces.py). Architectures without a row are served by the Transformers
/// backend.
struct ArchitectureRow {
  std::string name;    ///< as in config.json "architectures"
  std::string module;  ///< vLLM's file, without .py
  std::string kind;    ///< text, multimodal, draft, pooling, transformers
  bool is_hybrid = false, is_attention_free = false, has_inner_state = false, supports_multimodal = false,
       has_noops = false, passes_eplb = false;
  std::vector<VersionSpan> registered_in, pp_in, lora_in;
  bool registered(VllmVersion version) const;
  bool supports_pp(VllmVersion version) const;
  bool supports_lora(VllmVersion version) const;
};
/// Row by name, null if no version that was read registers it.
const ArchitectureRow* find_architecture(std::string_view name);
/// Of a pooling class that vLLM makes of a generating one ("QwenForSequenceClassification"): the row of that; else
/// null.
const ArchitectureRow* generating_architecture(std::string_view name);
/// Whether the registry of this version was read, or is older than one that was: what it lacks, it lacks.
bool registry_known(VllmVersion version);
/// Whether a version's configuration readers, its own and Transformers', know this `model_type` of config.json
/// (data/vllm/model_types.csv). Of a version newer than those read that is not known, which counts as yes.
bool knows_model_type(std::string_view model_type, VllmVersion version);
bool transformers_knows(std::string_view model_type, VllmVersion version);
/// Whether Transformers has this class, and its attention can be replaced by vLLM's.
bool transformers_serves(std::string_view architecture, VllmVersion version);
/// The Transformers release that comes with a vLLM version.
VllmVersion transformers_of(VllmVersion version);

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

/// An expert layer as vLLM's kernels see it.
struct ExpertLayer {
  MoeFfn moe;
  QuantScheme scheme;
  bool online = false;  ///< quantised while the weights are read, by --quantization
  int hidden_size = 0;
};

/// What config.json says, and what this version of vLLM makes of it.
struct ModelFacts : ConfigFacts {
  std::string name;
  bool known_type = true;               ///< this version's configuration readers know model_type
  bool known_class = false;             ///< some version that was read has the architecture
  bool registered = false;              ///< this vLLM version has it
  bool served_by_transformers = false;  ///< else: its Transformers has it, or the version's registry is not known
  bool code_of_its_own =
      false;  ///< Transformers does not know the type, the repository brings code: its tokenizer's too
  bool transformers_backend = false;  ///< no class of vLLM's own
  bool supports_pp = true, supports_lora = true, is_hybrid = false, is_attention_free = false,
       supports_multimodal = false, is_mm_prefix_lm = false, has_inner_state = false;
  bool breakable_cudagraph = false;             ///< VLLM_USE_BREAKABLE_CUDAGRAPH by default: no compilation
  std::optional<double> derived_max_model_len;  ///< before a user's limit; nullopt = config.json names no length
  std::string max_len_key;
  std::optional<std::int64_t>
      default_max_model_len;  ///< what max_model_len becomes when not given (LongRoPE: the original length)
  std::string quantization;   ///< the method vLLM settles on without --quantization; "" = none
  ConstructionFacts construction;
  std::optional<ExpertLayer> experts;  ///< the first one; nullopt = none, or only config.json was read
};

/// From a read model. `version` matters for architectures and quantisation names.
ModelFacts model_facts(const Model& model, VllmVersion version = kDefaultVllmVersion);
ModelFacts model_facts(const ConfigFacts& config, const std::string& name, VllmVersion version = kDefaultVllmVersion);

}  // namespace shardwise
