#include "parallel/model_facts.h"

#include <algorithm>

#include "model/architectures.h"
#include "parallel/construction.h"
#include "parallel/quantization_methods.h"

namespace shardwise {

ModelFacts model_facts(const ConfigFacts& config, const std::string& name, VllmVersion version) {
  ModelFacts f;
  static_cast<ConfigFacts&>(f) = config;
  f.name = name;
  const auto* row = find_architecture(f.architecture);
  const auto* generating = row ? nullptr : generating_architecture(f.architecture);
  if (generating) row = generating;
  if (row && row->registered(version)) {
    f.registered = true;
    f.transformers_backend = row->kind == "transformers";
    f.supports_pp = row->supports_pp(version);
    f.supports_lora = row->supports_lora(version);
    f.is_attention_free = row->is_attention_free;
    f.supports_multimodal = row->supports_multimodal;
    f.has_inner_state = row->has_inner_state;
    f.is_hybrid = row->is_hybrid && !f.attention_only;
  } else {
    f.transformers_backend = true;
  }
  f.is_mm_prefix_lm = f.supports_multimodal && f.mm_prefix_lm;
  if (f.transformers_backend) f.is_mla = f.has_kv_lora_rank;
  const auto& breakable = find_traits(f.architecture).breakable_cudagraph;
  f.breakable_cudagraph = breakable && version >= *breakable;
  f.known_type = knows_model_type(f.model_type, version);
  f.known_class = row != nullptr;
  f.served_by_transformers =
      f.architecture.empty() || !registry_known(version) || transformers_serves(f.architecture, version);
  f.code_of_its_own = f.own_code && !transformers_knows(f.model_type, version);
  // Before 0.30 YaRN's original length times its factor was the derived length.
  const auto& length = version < VllmVersion{0, 30, 0} ? f.length_before_0_30 : f.length;
  f.derived_max_model_len = length.derived;
  f.max_len_key = length.key;
  f.default_max_model_len = length.when_not_given;
  f.quantization = resolve_quantization(f, "", version).method;
  derive_construction(f, version);
  return f;
}

ModelFacts model_facts(const Model& model, VllmVersion version) {
  auto facts = model_facts(config_facts(model), model.name, version);
  for (const auto& layer : model.layers)
    if (const auto* moe = std::get_if<MoeFfn>(&layer.ffn)) {
      const auto& scheme = model.quantisation.routed_experts;
      const bool online = facts.quantization.empty() && scheme.method != QuantScheme::Method::none;
      facts.experts = ExpertLayer{*moe, scheme, online, model.hidden_size};
      break;
    }
  const auto online = model.quantisation.attention.method;
  const bool dense =
      std::ranges::any_of(model.layers, [](const Layer& l) { return std::holds_alternative<DenseFfn>(l.ffn); });
  if (dense && facts.quantization.empty() &&
      (online == QuantScheme::Method::mxfp8 || online == QuantScheme::Method::mxfp4))
    facts.construction.group_size = 32;
  return facts;
}

}  // namespace shardwise
