#include "parallel/model_facts.h"

#include "parallel/construction.h"
#include "parallel/quantization_methods.h"

namespace shardwise {
namespace {

/// vllm.py DEFAULT_BREAKABLE_CUDAGRAPH_ARCHITECTURES with the first version seen to have each (0.32 rows unless known).
bool breakable(std::string_view architecture, VllmVersion version) {
  struct Row {
    std::string_view name;
    VllmVersion since;
  };
  static constexpr VllmVersion v30{0, 29, 0}, v24{0, 24, 0};
  static constexpr Row rows[] = {{"DeepseekV32ForCausalLM", v30},
                                 {"DeepseekV4ForCausalLM", v24},
                                 {"DeepseekV4ForConditionalGeneration", v24},
                                 {"DeepseekV41ForCausalLM", v30},
                                 {"Dots3NoteForCausalLM", v30},
                                 {"Glm5NextForCausalLM", v30},
                                 {"Glm5NextForConditionalGeneration", v30},
                                 {"GlmMoeDsaForCausalLM", v30},
                                 {"HYV4ForCausalLM", v30},
                                 {"InklingForCausalLM", v30},
                                 {"InklingForConditionalGeneration", v30},
                                 {"KimiK3ForConditionalGeneration", {0, 28, 0}},
                                 {"KimiLinearForCausalLM", {0, 28, 0}},
                                 {"MiniMaxM3SparseForCausalLM", v24},
                                 {"MiniMaxM3SparseForConditionalGeneration", v24},
                                 {"Qwen4ExpForCausalLM", v30},
                                 {"Qwen4ExpForConditionalGeneration", v30}};
  for (const auto& row : rows)
    if (row.name == architecture) return version >= row.since;
  return false;
}

}  // namespace

ModelFacts model_facts(const ConfigFacts& config, const std::string& name, VllmVersion version) {
  ModelFacts f;
  static_cast<ConfigFacts&>(f) = config;
  f.name = name;
  const auto* row = find_architecture(f.architecture);
  if (row && row->registered(version)) {
    f.registered = true;
    f.transformers_backend = row->kind == "transformers";
    f.supports_pp = row->supports_pp(version);
    f.is_attention_free = row->is_attention_free;
    f.supports_multimodal = row->supports_multimodal;
    f.has_inner_state = row->has_inner_state;
    f.is_hybrid = row->is_hybrid && !f.attention_only;
  } else {
    f.transformers_backend = true;
  }
  f.is_mm_prefix_lm = f.supports_multimodal && f.mm_prefix_lm;
  if (f.transformers_backend) f.is_mla = f.has_kv_lora_rank;
  f.breakable_cudagraph = breakable(f.architecture, version);
  if (f.refusal_rule.empty() && !knows_model_type(f.model_type, version)) {
    // With code of its own in the repository, vLLM asks for --trust-remote-code before it looks at the type.
    f.refusal_rule = f.own_code ? "model_unknown" : "model_config_unreadable";
    f.refusal_message = "vLLM " + to_string(version) + " and its Transformers do not know model type '" + f.model_type +
                        "'" + (f.own_code ? "; the repository's own code needs --trust-remote-code" : "");
  } else if (f.refusal_rule.empty() && row && !row->registered(version)) {
    f.refusal_rule = "model_unknown";
    f.refusal_message = f.architecture + " is not in vLLM " + to_string(version);
  }
  // Before 0.19 YaRN's original length times its factor was the derived length.
  const auto& length = version < VllmVersion{0, 19, 0} ? f.length_before_0_19 : f.length;
  f.derived_max_model_len = length.derived;
  f.max_len_key = length.key;
  f.default_max_model_len = length.when_not_given;
  f.quantization = resolve_quantization(f, "", version).method;
  derive_construction(f);
  return f;
}

ModelFacts model_facts(const Model& model, VllmVersion version) {
  return model_facts(config_facts(model), model.name, version);
}

}  // namespace shardwise
