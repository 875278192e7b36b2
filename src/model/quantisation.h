#pragma once
// How a checkpoint stores each module, from quantization_config (or hf_quant_config.json).
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "config/json.h"
#include "model/model.h"

namespace shardwise {

/// Parsed form of a quantization_config. Module names are those of the checkpoint ("model.layers.0.self_attn.q_proj").
class QuantRules {
 public:
  enum class Module { linear, experts, lm_head, embedding };
  QuantRules() = default;
  explicit QuantRules(const Json& config);

  /// Scheme of a module; `none` where the checkpoint leaves it in the model's own type.
  QuantScheme scheme(std::string_view module, Module kind = Module::linear) const;
  /// DeepSeek-V4 (vLLM: models/deepseek_v4/quant_config.py): fp4 experts, and linear scales of one byte, unless
  /// expert_dtype says fp8.
  void set_deepseek_v4(const std::string& expert_dtype);
  const std::string& method() const { return method_; }
  bool mixed() const { return mixed_; }  ///< ModelOpt's MIXED_PRECISION: quantised modules are listed one by one
  const std::vector<std::string>& ignore() const { return ignore_; }
  std::optional<DType> kv_cache_dtype() const { return kv_cache_dtype_; }

 private:
  bool ignored(std::string_view module) const;
  std::string method_;
  std::vector<std::string> ignore_;
  QuantScheme common_;                                                    // scheme of what no other entry names
  std::vector<std::pair<std::string, QuantScheme>> by_module_;            // quantized_layers, sorted by name
  std::vector<std::pair<std::vector<std::string>, QuantScheme>> groups_;  // compressed-tensors config_groups: targets
  std::unordered_set<std::string> plain_;                                 // ignored names and parents, canonical
  std::vector<std::string> patterns_;                                     // ignored globs and regular expressions
  std::vector<std::string> bare_;                                         // ignored words without a dot
  bool mixed_ = false;                        // quantized_layers names every quantised module
  bool experts_only_ = false;                 // MXFP4 checkpoints quantise the experts alone
  std::optional<QuantScheme> expert_scheme_;  // where experts differ (moe_quant_algo)
  std::optional<DType> kv_cache_dtype_;
};

/// The rules of a model's checkpoint; none if it is not quantised.
QuantRules quant_rules(const Model& model);

/// Per-kind summary: what the last layer that has such a module stores.
Quantisation summarise(const QuantRules& rules, const Model& model);

/// A module's name without the roots that checkpoints and vLLM disagree on: "model.language_model.layers.0.mlp" and
/// "backbone.layers.0.mlp" are "layers.0.mlp".
std::string_view canonical_module(std::string_view name);

/// Whether `pattern` (as in an ignore list: a name, a parent module, a glob with *, or "re:" and a regular expression)
/// covers `module`.
bool pattern_covers(std::string_view pattern, std::string_view module);

}  // namespace shardwise
