#include "model/config_facts.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>

#include "base/input_error.h"
#include "base/saturate.h"
#include "base/text.h"
#include "config/json.h"
#include "config/json_fields.h"
#include "config/ranges.h"
#include "model/fields.h"
#include "model/model_types.h"
#include "model/source.h"

namespace shardwise {
namespace {

int integer(const Json& object, std::initializer_list<const char*> keys, int fallback = 0) {
  for (const char* key : keys)
    if (const auto value = number_at(object, key)) return saturating_cast<int>(*value);
  return fallback;
}

/// The language part of a config: Transformers' get_text_config().
const Json& language_part(const Json& config) {
  if (const auto* thinker = field_at(config, "thinker_config"); thinker && thinker->is_object())
    if (const auto* inner = field_at(*thinker, "text_config")) return *inner;
  for (const char* key : {"text_config", "llm_config", "language_config"})
    if (const auto* inner = field_at(config, key); inner && inner->is_object()) return *inner;
  return config;
}

/// transformers_utils/model_arch_config_convertor.py is_deepseek_mla.
bool is_mla(const Json& t) {
  if (!find_model_type(text_at(t, "model_type").value_or("")).mla) return false;
  if (field_at(t, "compress_ratios")) return field_at(t, "head_dim") != nullptr;
  return field_at(t, "kv_lora_rank") != nullptr || text_at(t, "model_type").value_or("") == "deepseek_v4";
}

int kv_heads(const Json& t, const std::string& model_type, int heads) {
  if (model_type == "mamba" || model_type == "falcon_mamba" || model_type == "timm_wrapper" || model_type == "medusa")
    return 0;
  if (model_type == "falcon" || model_type == "RefinedWeb" || model_type == "RefinedWebModel") {
    const auto* fresh = field_at(t, "new_decoder_architecture");
    const auto* multi_query = field_at(t, "multi_query");
    if (!(fresh && fresh->is_boolean() && fresh->get<bool>()) &&
        (!multi_query || (multi_query->is_boolean() && multi_query->get<bool>())))
      return 1;
  }
  if (model_type == "dbrx") {
    if (const auto* attention = field_at(t, "attn_config")) return integer(*attention, {"kv_n_heads"}, heads);
  }
  if (model_type == "nemotron-nas") {
    if (const auto* blocks = field_at(t, "block_configs"))
      for (const auto& block : *blocks)
        if (const auto* attention = field_at(block, "attention"))
          if (const auto group = number_at(*attention, "n_heads_in_group"); group && *group >= 1)
            return heads / saturating_cast<int>(*group);
  }
  return integer(
      t, {"n_head_kv", "num_kv_heads", "num_key_value_heads", "multi_query_group_num", "num_attention_groups"}, heads);
}

/// vLLM asks the config object, so a count that config.json leaves out is the class's default (nemotron_h has 8, dense
/// checkpoints included): config/model.py is_moe, transformers_utils/model_arch_config_convertor.py get_num_experts.
int expert_count(const Json& t) {
  bool stated = false;
  constexpr std::array kKeys = {"num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts"};
  for (const char* key : kKeys) {
    const auto it = t.find(key);
    if (it == t.end()) continue;
    stated = true;
    if (it->is_array() && !it->empty()) return it->front().get<int>();
    if (it->is_number() && it->get<int>() > 0) return it->get<int>();
  }
  if (const auto* ffn = field_at(t, "ffn_config"))
    if (const int n = integer(*ffn, {"moe_num_experts"})) return n;
  int most = 0;
  if (const auto* blocks = field_at(t, "block_configs"); blocks && blocks->is_array())
    for (const auto& block : *blocks)
      if (block.is_object() && text_at(block, "block_type").value_or("") == "moe")
        most = std::max(most, integer(block, {"n_routed_experts"}));
  if (most > 0 || stated) return most;
  const Json defaults = class_defaults(text_at(t, "model_type").value_or(""));
  for (const char* key : kKeys)
    if (const int n = integer(defaults, {key}); n > 0) return n;
  return 0;
}

/// The rope parameters of a config: one object, or one per layer type. Both spellings (rope_scaling, rope_parameters).
std::vector<const Json*> rope_parameters(const Json& t) {
  std::vector<const Json*> out;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const auto* rope = field_at(t, key);
    if (!rope || !rope->is_object() || rope->empty()) continue;
    bool nested = true;
    for (const auto& [name, value] : rope->items()) nested = nested && (value.is_object() || value.is_null());
    if (nested) {
      for (const auto& [name, value] : rope->items())
        if (value.is_object()) out.push_back(&value);
    } else {
      out.push_back(rope);
    }
    break;
  }
  return out;
}

ConfigLength read_length(const Json& t, const std::string& model_type, bool yarn_counts) {
  ConfigLength out;
  double derived = std::numeric_limits<double>::infinity();
  for (const char* key : {"max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
                          "max_target_positions", "max_sequence_length", "max_seq_length", "seq_len"})
    if (const auto value = number_at(t, key); value && *value < derived) derived = *value, out.key = key;
  if (derived == std::numeric_limits<double>::infinity())
    if (const int fallback = find_model_type(model_type).default_length)
      derived = fallback, out.key = "max_position_embeddings";
  if (const auto most = number_at(t, "model_max_length"); most && *most > 0)
    derived = *most, out.key = "model_max_length";
  if (derived == std::numeric_limits<double>::infinity()) {
    out.when_not_given = 2048;
    return out;
  }
  const auto ropes = rope_parameters(t);
  bool longrope = false;
  double factor = 1;
  for (const auto* rope : ropes) {
    std::string type = text_at(*rope, "rope_type").value_or("");
    if (type.empty()) type = text_at(*rope, "type").value_or("");
    longrope = longrope || type == "longrope" || type == "su";
    static const std::set<std::string, std::less<>> unscaled = {"su",   "longrope",      "llama3",
                                                                "yarn", "deepseek_yarn", "deepseek_llama_scaling"};
    if (unscaled.contains(type)) {
      if (yarn_counts && (type == "yarn" || type == "deepseek_yarn"))
        if (const auto original = number_at(*rope, "original_max_position_embeddings"))
          derived = *original, factor = number_at(*rope, "factor").value_or(1);
      continue;
    }
    if (const auto value = number_at(*rope, "factor")) factor = *value;
  }
  if (model_type.find("gemma3") == std::string::npos) derived *= factor;
  out.derived = derived;
  out.when_not_given = saturating_cast<std::int64_t>(std::min(derived, ranges::most_tokens));
  if (longrope)
    if (const auto original = number_at(t, "original_max_position_embeddings"))
      out.when_not_given = saturating_cast<std::int64_t>(std::min(*original, ranges::most_tokens));
  return out;
}

/// Quantisation as vLLM reads it: model_arch_config_convertor.py _normalize_quantization_config, then the override of
/// config/model.py _verify_quantization without a user's argument. Returns the config that counts, null if none.
const Json* derive_quantisation(const Json& config, const Json& t, const Json* hf_quant, ConfigFacts& f) {
  const Json* q = field_at(config, "quantization_config");
  bool from_text = false;
  if (!q) q = hf_quant;
  if (!q && &t != &config) q = field_at(t, "quantization_config"), from_text = q != nullptr;
  if (!q) q = field_at(config, "compression_config");
  if (!q || !q->is_object()) return nullptr;
  std::string method = to_lower(text_at(*q, "quant_method").value_or(""));
  const auto* inner = field_at(*q, "quantization");
  const auto* producer = field_at(*q, "producer");
  const bool modelopt = (producer && text_at(*producer, "name").value_or("") == "modelopt") ||
                        (inner && inner->is_object() && field_at(*inner, "modelopt_quant_config"));
  if (modelopt && inner && inner->is_object()) {
    const std::string algo = text_at(*inner, "quant_algo").value_or("");
    std::string upper = algo;
    std::transform(upper.begin(), upper.end(), upper.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    if (upper == "FP8" || upper == "FP8_PER_CHANNEL_PER_TOKEN" || upper == "FP8_PB_WO")
      method = "modelopt";
    else if (upper == "NVFP4")
      method = "modelopt_fp4";
    else
      f.unknown_modelopt_algo = algo;
  }
  if (method == "compressed_tensors") method = "compressed-tensors";
  f.quant_checkpoint_method = method;
  f.quant_format = text_at(*q, "format").value_or("");
  f.quant_has_config = true;
  if (method.starts_with("modelopt")) {
    const Json& source = inner && inner->is_object() ? *inner : *q;
    std::string algo = text_at(source, "quant_algo").value_or("");
    std::transform(algo.begin(), algo.end(), algo.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    f.modelopt_algo = algo;
    // utils/torch_utils.py get_kv_cache_quant_algo_string; a quantisation of the text part alone is not looked at.
    if (!from_text) {
      const Json* kv = nullptr;
      for (const auto& [object, key] : {std::pair{&source, "kv_cache_scheme"}, std::pair{q, "kv_cache_scheme"},
                                        std::pair{&source, "kv_cache_quant_algo"}, std::pair{q, "kv_cache_quant_algo"}})
        if (!kv) kv = field_at(*object, key);
      if (kv && kv->is_object()) {
        const auto bits = number_at(*kv, "num_bits");
        const auto* dynamic = field_at(*kv, "dynamic");
        const bool is_float = text_at(*kv, "type").value_or("") == "float";
        if (dynamic && dynamic->is_boolean() && !dynamic->get<bool>() && bits == 8 && is_float)
          f.kv_cache_dtype = "fp8_e4m3";
        else if (bits == 4 && is_float)
          f.kv_cache_dtype = "nvfp4";
      } else if (kv && kv->is_string()) {
        const auto name = to_lower(kv->get<std::string>());
        f.kv_cache_dtype = name == "fp8" ? "fp8_e4m3" : name == "nvfp4" ? "nvfp4" : "auto";
      }
    }
  }
  return q;
}

/// Multi-token prediction layers as speculative.py hf_config_override finds them: the type decides, else the class.
Mtp mtp_of(const Json& config, const ConfigFacts& f) {
  const Mtp by_type = find_model_type(f.model_type).mtp;
  const bool none = by_type == Mtp::nextn_if_any && integer(config, {"num_nextn_predict_layers"}) <= 0;
  return none || by_type == Mtp::none ? find_traits(f.architecture).mtp : by_type;
}

std::optional<int> mtp_layers(const Json& config, const Json& t, Mtp where) {
  const auto from = [](const Json& object, const char* key) {
    const auto value = number_at(object, key);
    return value ? std::optional(saturating_cast<int>(*value)) : std::nullopt;
  };
  switch (where) {
    case Mtp::none:
      return std::nullopt;
    case Mtp::num_nextn_predict_layers:
    case Mtp::nextn_if_any:
      return from(config, "num_nextn_predict_layers");
    case Mtp::nextn_or_one:
      return from(config, "num_nextn_predict_layers").value_or(1);
    case Mtp::text_num_nextn:
      return from(t, "num_nextn_predict_layers");
    case Mtp::text_num_nextn_or_one:
      return from(t, "num_nextn_predict_layers").value_or(1);
    case Mtp::text_num_mtp_modules_or_one:
      return from(t, "num_mtp_modules").value_or(1);
    case Mtp::mtp_num_hidden_layers: {
      const auto whole = from(config, "mtp_num_hidden_layers");
      return whole ? whole : from(t, "mtp_num_hidden_layers");
    }
    case Mtp::one:
      return 1;
  }
  return std::nullopt;
}

/// Towers whose attention divides its heads by TP. Others fall back to a whole tower (MoonViT, InternViT) or hold one
/// anyway (Gemma 4).
bool splits_vision_heads(const ConfigFacts& f) {
  for (const std::string_view type :
       {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_5", "qwen3_6", "glm4v", "llama4", "gemma3", "llava", "mistral3"})
    if (f.model_type.starts_with(type)) return true;
  return false;
}

bool ignores(const Json* quant, std::initializer_list<std::string_view> words) {
  if (!quant) return false;
  for (const char* key : {"modules_to_not_convert", "ignored_layers", "ignore"})
    if (const auto it = quant->find(key); it != quant->end() && it->is_array())
      for (const auto& entry : *it)
        if (entry.is_string())
          for (const auto word : words)
            if (entry.get_ref<const std::string&>().find(word) != std::string::npos) return true;
  return false;
}

ConfigSizes read_sizes(const Json& config, const Json& t, const Json* quant, const ConfigFacts& f) {
  ConfigSizes s;
  s.vocab_size = integer(t, {"vocab_size"});
  s.hidden_size = integer(t, {"hidden_size", "n_embd", "d_model"});
  s.head_dim = integer(t, {"head_dim"});
  s.num_global_key_value_heads = integer(t, {"num_global_key_value_heads"});
  s.qk_nope_head_dim = integer(t, {"qk_nope_head_dim"});
  s.qk_rope_head_dim = integer(t, {"qk_rope_head_dim"});
  s.v_head_dim = integer(t, {"v_head_dim"});
  s.compress_ratios = t.contains("compress_ratios");
  s.dense_intermediate = integer(t, {"intermediate_size", "ffn_dim", "n_inner"});
  s.first_dense_intermediate = integer(t, {"intermediate_size"});
  s.moe_intermediate = integer(t, {"moe_intermediate_size", "intermediate_size", "ffn_hidden_size"});
  if (integer(t, {"moe_latent_size"})) s.moe_intermediate = integer(t, {"moe_intermediate_size"});
  const int shared = integer(t, {"n_shared_experts"});
  s.shared_intermediate =
      shared ? shared * integer(t, {"moe_intermediate_size"}) : integer(t, {"shared_expert_intermediate_size"});
  s.first_k_dense_replace = integer(t, {"first_k_dense_replace"});
  s.decoder_sparse_step = integer(t, {"decoder_sparse_step"});
  if (const auto* layers = field_at(t, "mlp_only_layers"); layers && layers->is_array())
    for (const auto& layer : *layers)
      if (layer.is_number()) s.mlp_only_layers.push_back(layer.get<int>());
  const auto pattern = t.find("hybrid_override_pattern");
  s.pattern_without_experts = pattern != t.end() && pattern->is_string() &&
                              pattern->get_ref<const std::string&>().find('E') == std::string::npos;
  s.linear_num_key_heads = integer(t, {"linear_num_key_heads"});
  s.linear_num_value_heads = integer(t, {"linear_num_value_heads"});
  s.mamba_heads = integer(t, {"mamba_num_heads", "mamba_n_heads"});
  s.mamba_groups = integer(t, {"mamba_n_groups"});
  if (!s.mamba_groups && s.mamba_heads) s.mamba_groups = integer(t, {"n_groups"});
  if (f.model_type == "mamba2") s.mamba_heads = integer(t, {"num_heads"}), s.mamba_groups = integer(t, {"n_groups"});
  if (f.model_type == "jamba") s.mamba1_intermediate = integer(t, {"mamba_expand"}) * s.hidden_size;
  if (f.model_type == "mamba") s.mamba1_intermediate = integer(t, {"intermediate_size"});
  if (const auto vision = config.find("vision_config"); vision != config.end() && splits_vision_heads(f))
    s.vision_heads = integer(*vision, {"num_heads", "num_attention_heads"});
  s.attention_quantised = !ignores(quant, {"self_attn", "attn", "q_proj", "o_proj"});
  if (!quant) return s;
  if (const auto it = quant->find("weight_block_size"); it != quant->end() && it->is_array() && it->size() == 2)
    s.fp8_block_n = (*it)[0].get<int>(), s.fp8_block_k = (*it)[1].get<int>();
  if (f.quant_checkpoint_method == "compressed-tensors" && f.quant_format == "pack-quantized")
    if (const auto groups = quant->find("config_groups"); groups != quant->end() && groups->is_object())
      for (const auto& [name, group] : groups->items())
        if (const auto weights = group.find("weights"); weights != group.end() && weights->is_object())
          if (const auto size = weights->find("group_size"); size != weights->end() && size->is_number())
            s.packed_group_size = std::max(s.packed_group_size, size->get<int>());
  return s;
}

}  // namespace

ConfigFacts config_facts(const Json& c, const Json* hf_quant_config) {
  ConfigFacts f;
  const Json& t = language_part(c);
  f.model_type = text_at(c, "model_type").value_or("");
  f.text_model_type = text_at(t, "model_type").value_or("");
  if (const auto* list = field_at(c, "architectures");
      list && list->is_array() && !list->empty() && list->front().is_string())
    f.architecture = list->front().get<std::string>();
  if (f.model_type == "deepseek_v4" && integer(c, {"vision_n_layers"}) > 0 && f.architecture == "DeepseekV4ForCausalLM")
    f.architecture = "DeepseekV4ForConditionalGeneration";
  f.own_code = field_at(c, "auto_map") != nullptr;
  if (const auto* types = field_at(c, "layer_types"); types && types->is_array())
    f.attention_only = std::all_of(types->begin(), types->end(),
                                   [](const Json& v) { return v == "attention" || v == "full_attention"; });
  const ModelType& type = find_model_type(f.model_type);
  f.mm_prefix_lm = type.mm_prefix || (f.model_type.starts_with("gemma4") &&
                                      text_at(t, "use_bidirectional_attention").value_or("") == "vision");
  f.is_encoder_decoder = type.encoder_decoder;
  f.num_hidden_layers = f.model_type == "longcat_flash"
                            ? integer(t, {"num_layers"})
                            : integer(t, {"num_hidden_layers", "n_layer", "n_layers", "num_layers"});
  if (const auto* blocks = field_at(t, "layers_block_type");
      blocks && blocks->is_array() && f.text_model_type.starts_with("nemotron_h"))
    f.num_hidden_layers = static_cast<int>(blocks->size());
  if (f.num_hidden_layers == 0)
    if (const auto pattern = text_at(t, "hybrid_override_pattern").value_or(""); !pattern.empty())
      f.num_hidden_layers = static_cast<int>(pattern.size());
  f.num_attention_heads = integer(t, {"num_attention_heads", "n_head", "n_heads"});
  if (f.model_type == "mamba" || f.model_type == "mamba2" || f.model_type == "falcon_mamba") f.num_attention_heads = 0;
  f.num_key_value_heads = kv_heads(t, f.model_type, f.num_attention_heads);
  f.num_experts = expert_count(t);
  f.is_moe = f.num_experts > 0;
  f.is_mla = is_mla(t) && !(field_at(t, "is_causal") && field_at(t, "is_causal")->is_boolean() &&
                            !field_at(t, "is_causal")->get<bool>());
  f.has_kv_lora_rank = field_at(t, "kv_lora_rank") != nullptr;
  if (const auto groups = number_at(t, "n_group"))
    f.num_expert_group = saturating_cast<int>(*groups);
  else if (const auto other = number_at(t, "num_expert_group"))
    f.num_expert_group = saturating_cast<int>(*other);
  const Mtp mtp = mtp_of(c, f);
  f.mtp_supported = mtp != Mtp::none;
  f.mtp_layers = mtp_layers(c, t, mtp);
  f.num_nextn_predict_layers = f.mtp_layers.value_or(0);
  if (const auto window = number_at(t, "sliding_window")) f.sliding_window = saturating_cast<std::int64_t>(*window);
  if (const auto chunk = number_at(t, "attention_chunk_size"); chunk && !f.model_type.starts_with("mimo_v2"))
    f.attention_chunk_size = saturating_cast<std::int64_t>(*chunk);
  f.has_index_topk = field_at(c, "index_topk") != nullptr;
  f.model_max_length = number_at(t, "model_max_length");
  f.length = read_length(t, f.text_model_type, false);
  f.length_before_0_30 = read_length(t, f.text_model_type, true);
  for (const Json* part : {&c, &t, field_at(c, "vision_config")}) {
    if (!part) continue;
    auto dtype = text_at(*part, "dtype").value_or("");
    if (dtype.empty()) dtype = text_at(*part, "torch_dtype").value_or("");
    if (dtype.empty()) continue;
    f.dtype = dtype.starts_with("torch.") ? dtype.substr(6) : dtype;
    break;
  }
  const Json* quant = derive_quantisation(c, t, hf_quant_config, f);
  f.sizes = read_sizes(c, t, quant, f);
  return f;
}

Json with_hf_overrides(const Json& config, const std::string& overrides, const std::string& file) {
  const Json changes = parse_json(overrides, file);
  if (!changes.is_object()) throw InputError(file, 0, "hf_overrides", "must be an object of config.json fields");
  Json out = config;
  for (const auto& [key, value] : changes.items()) {
    auto& slot = out[key];
    if (value.is_object() && slot.is_object())
      slot.merge_patch(value);
    else
      slot = value;
  }
  return out;
}

ConfigFacts config_facts(const Model& model, const std::string& hf_overrides) {
  const Json none = Json::object();
  const Json& given = model.source ? model.source->config : none;
  const Json changed = hf_overrides.empty() ? Json() : with_hf_overrides(given, hf_overrides, "input.args");
  const Json& config = hf_overrides.empty() ? given : changed;
  const bool elsewhere = model.source && !config.contains("quantization_config");
  return config_facts(config, elsewhere ? stated_quantisation(*model.source) : nullptr);
}

}  // namespace shardwise
