#pragma once
// How a checkpoint stores each module, from quantization_config (or hf_quant_config.json).
#include <optional>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "config/json_fwd.h"
#include "model/model.h"
#include "model/name_regex.h"

namespace shardwise {

/// One entry of an ignore list or of targets: a module's name or its parent's, a glob with *, or "re:" and a regular
/// expression. Read once, asked for every module.
class ModulePattern {
 public:
  explicit ModulePattern(std::string_view text);
  bool covers(std::string_view module) const;

 private:
  std::string text_;
  bool is_glob_ = false, is_regex_ = false;
  std::optional<NameRegex> regex_;  ///< nullopt of a bad expression: covers nothing
};

/// Parsed form of a quantization_config. Module names are those of the checkpoint ("model.layers.0.self_attn.q_proj").
class QuantRules {
 public:
  enum class Module { linear, experts, lm_head, embedding };
  QuantRules() = default;
  explicit QuantRules(const Json& config);
  /// Every linear layer in one scheme and every expert in another, whatever its name: what vLLM makes while it loads.
  /// Heads and embeddings are no linear layers to it.
  QuantRules(std::string method, QuantScheme linear, QuantScheme experts)
      : method_(std::move(method)), common_(linear), expert_scheme_(experts) {}

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
  QuantScheme common_;                                          // scheme of what no other entry names
  std::vector<std::pair<std::string, QuantScheme>> by_module_;  // quantized_layers, sorted by name
  struct Group {
    bool linear = false;  // targets "Linear": every linear layer but the head
    std::vector<ModulePattern> targets;
    QuantScheme scheme;
  };
  std::vector<Group> groups_;                 // compressed-tensors config_groups
  std::unordered_set<std::string> plain_;     // ignored names and parents, canonical
  std::vector<ModulePattern> patterns_;       // ignored globs and regular expressions
  std::vector<std::string> bare_;             // ignored words without a dot
  bool mixed_ = false;                        // quantized_layers names every quantised module
  bool experts_only_ = false;                 // MXFP4 checkpoints quantise the experts alone
  std::optional<QuantScheme> expert_scheme_;  // where experts differ (moe_quant_algo)
  std::optional<DType> kv_cache_dtype_;
};

/// Gives a model these rules, and the summary by kind that follows from them.
void set_quantisation(QuantRules rules, Model& model);

/// The rules of a model's checkpoint; none if it is not quantised.
const QuantRules& quant_rules(const Model& model);

/// A module's name without the roots that checkpoints and vLLM disagree on: "model.language_model.layers.0.mlp" and
/// "backbone.layers.0.mlp" are "layers.0.mlp".
std::string_view canonical_module(std::string_view name);

}  // namespace shardwise
