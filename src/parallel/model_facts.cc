#include "parallel/model_facts.h"

#include <algorithm>
#include <array>
#include <limits>
#include <set>

#include "base/input_error.h"
#include "base/text.h"
#include "config/json.h"
#include "model/fields.h"
#include "parallel/construction.h"
#include "parallel/quantization_methods.h"

namespace shardwise {
namespace {

const Json* field(const Json& object, std::string_view key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

std::optional<double> number(const Json& object, std::string_view key) {
  const auto* value = field(object, key);
  return value && value->is_number() ? std::optional(value->get<double>()) : std::nullopt;
}

int integer(const Json& object, std::initializer_list<const char*> keys, int fallback = 0) {
  for (const char* key : keys)
    if (const auto value = number(object, key)) return static_cast<int>(*value);
  return fallback;
}

std::string text(const Json& object, std::string_view key) {
  const auto* value = field(object, key);
  return value && value->is_string() ? value->get<std::string>() : "";
}

/// The language part of a config: Transformers' get_text_config().
const Json& text_part(const Json& config) {
  if (const auto* thinker = field(config, "thinker_config"); thinker && thinker->is_object())
    if (const auto* inner = field(*thinker, "text_config")) return *inner;
  for (const char* key : {"text_config", "llm_config", "language_config"})
    if (const auto* inner = field(config, key); inner && inner->is_object()) return *inner;
  return config;
}

/// Defaults of Hugging Face's config classes for max_position_embeddings, for configs that leave it out.
std::optional<double> class_default_length(const std::string& model_type) {
  static const std::pair<std::string_view, double> rows[] = {
      {"falcon", 2048},     {"gpt2", 1024},        {"llama", 2048},         {"mistral", 131072},
      {"mixtral", 131072},  {"qwen2", 32768},      {"qwen2_moe", 32768},    {"qwen3", 32768},
      {"qwen3_moe", 32768}, {"gemma", 8192},       {"gemma2", 8192},        {"gemma3_text", 131072},
      {"phi3", 4096},       {"cohere", 8192},      {"granite", 2048},       {"starcoder2", 4096},
      {"olmoe", 4096},      {"deepseek_v3", 4096}, {"deepseek_v2", 2048},   {"gpt_neox", 2048},
      {"jamba", 262144},    {"gpt_oss", 131072},   {"llama4_text", 131072}, {"opt", 2048},
      {"phi", 2048}};
  for (const auto& [type, length] : rows)
    if (type == model_type) return length;
  return std::nullopt;
}

/// transformers_utils/model_arch_config_convertor.py is_deepseek_mla.
bool is_mla(const Json& t) {
  static const std::set<std::string, std::less<>> types = {"axk1",
                                                           "deepseek_v2",
                                                           "deepseek_v3",
                                                           "deepseek_v32",
                                                           "deepseek_v4",
                                                           "deepseek_v41",
                                                           "dots3_note",
                                                           "deepseek_mtp",
                                                           "k3_dspark",
                                                           "glm5_next",
                                                           "glm5_next_text",
                                                           "glm_moe_dsa",
                                                           "glm4_moe_lite",
                                                           "glm4_moe_lite_mtp",
                                                           "kimi_k2",
                                                           "kimi_linear",
                                                           "longcat_flash",
                                                           "pangu_ultra_moe",
                                                           "pangu_ultra_moe_mtp",
                                                           "bailing_hybrid",
                                                           "bailing_hybrid_mtp",
                                                           "bailing_hybrid_v3_mtp",
                                                           "hy_v4",
                                                           "hy_v4_mtp"};
  if (!types.contains(text(t, "model_type"))) return false;
  if (field(t, "compress_ratios")) return field(t, "head_dim") != nullptr;
  return field(t, "kv_lora_rank") != nullptr || text(t, "model_type") == "deepseek_v4";
}

int kv_heads(const Json& t, const std::string& model_type, int heads) {
  if (model_type == "mamba" || model_type == "falcon_mamba" || model_type == "timm_wrapper" || model_type == "medusa")
    return 0;
  if (model_type == "falcon" || model_type == "RefinedWeb" || model_type == "RefinedWebModel") {
    const auto* fresh = field(t, "new_decoder_architecture");
    const auto* multi_query = field(t, "multi_query");
    if (!(fresh && fresh->is_boolean() && fresh->get<bool>()) &&
        (!multi_query || (multi_query->is_boolean() && multi_query->get<bool>())))
      return 1;
  }
  if (model_type == "dbrx") {
    if (const auto* attention = field(t, "attn_config")) return integer(*attention, {"kv_n_heads"}, heads);
  }
  if (model_type == "nemotron-nas") {
    if (const auto* blocks = field(t, "block_configs"))
      for (const auto& block : *blocks)
        if (const auto* attention = field(block, "attention"))
          if (const auto group = number(*attention, "n_heads_in_group")) return heads / static_cast<int>(*group);
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
  if (const auto* ffn = field(t, "ffn_config"))
    if (const int n = integer(*ffn, {"moe_num_experts"})) return n;
  int most = 0;
  if (const auto* blocks = field(t, "block_configs"); blocks && blocks->is_array())
    for (const auto& block : *blocks)
      if (block.is_object() && text(block, "block_type") == "moe")
        most = std::max(most, integer(block, {"n_routed_experts"}));
  if (most > 0 || stated) return most;
  const Json defaults = class_defaults(text(t, "model_type"));
  for (const char* key : kKeys)
    if (const int n = integer(defaults, {key}); n > 0) return n;
  return 0;
}

/// The rope parameters of a config: one object, or one per layer type. Both spellings (rope_scaling, rope_parameters).
std::vector<const Json*> rope_parameters(const Json& t) {
  std::vector<const Json*> out;
  for (const char* key : {"rope_parameters", "rope_scaling"}) {
    const auto* rope = field(t, key);
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

/// config/model.py _get_and_verify_max_len: what a user's --max-model-len is compared with, and the default.
void derive_length(const Json& t, VllmVersion version, ModelFacts& f) {
  double derived = std::numeric_limits<double>::infinity();
  for (const char* key : {"max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
                          "max_target_positions", "max_sequence_length", "max_seq_length", "seq_len"})
    if (const auto value = number(t, key); value && *value < derived) derived = *value, f.max_len_key = key;
  if (derived == std::numeric_limits<double>::infinity())
    if (const auto fallback = class_default_length(f.text_model_type))
      derived = *fallback, f.max_len_key = "max_position_embeddings";
  f.model_max_length = number(t, "model_max_length");
  if (f.model_max_length && *f.model_max_length > 0) derived = *f.model_max_length, f.max_len_key = "model_max_length";
  if (derived == std::numeric_limits<double>::infinity()) {
    f.default_max_model_len = 2048;
    return;
  }
  const auto ropes = rope_parameters(t);
  bool longrope = false;
  double factor = 1;
  for (const auto* rope : ropes) {
    std::string type = text(*rope, "rope_type");
    if (type.empty()) type = text(*rope, "type");
    longrope = longrope || type == "longrope" || type == "su";
    static const std::set<std::string, std::less<>> unscaled = {"su",   "longrope",      "llama3",
                                                                "yarn", "deepseek_yarn", "deepseek_llama_scaling"};
    if (unscaled.contains(type)) {
      // Before 0.19 YaRN's original length times its factor was the derived length.
      if (version < VllmVersion{0, 19, 0} && (type == "yarn" || type == "deepseek_yarn"))
        if (const auto original = number(*rope, "original_max_position_embeddings"))
          derived = *original, factor = number(*rope, "factor").value_or(1);
      continue;
    }
    if (const auto value = number(*rope, "factor")) factor = *value;
  }
  if (f.text_model_type.find("gemma3") == std::string::npos) derived *= factor;
  f.derived_max_model_len = derived;
  f.default_max_model_len = static_cast<std::int64_t>(derived);
  if (longrope)
    if (const auto original = number(t, "original_max_position_embeddings"))
      f.default_max_model_len = static_cast<std::int64_t>(*original);
}

/// Quantisation as vLLM reads it: model_arch_config_convertor.py _normalize_quantization_config, then the override of
/// config/model.py _verify_quantization without a user's argument.
void derive_quantisation(const Json& config, const Json& t, const Json* hf_quant, ModelFacts& f) {
  const Json* q = field(config, "quantization_config");
  bool from_text = false;
  if (!q) q = hf_quant;
  if (!q && &t != &config) q = field(t, "quantization_config"), from_text = q != nullptr;
  if (!q) q = field(config, "compression_config");
  if (!q || !q->is_object()) return;
  f.quant_config = std::make_shared<const Json>(*q);
  std::string method = to_lower(text(*q, "quant_method"));
  const auto* inner = field(*q, "quantization");
  const auto* producer = field(*q, "producer");
  const bool modelopt = (producer && text(*producer, "name") == "modelopt") ||
                        (inner && inner->is_object() && field(*inner, "modelopt_quant_config"));
  if (modelopt && inner && inner->is_object()) {
    const std::string algo = text(*inner, "quant_algo");
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
  f.quant_format = text(*q, "format");
  f.quant_has_config = true;
  if (method.starts_with("modelopt")) {
    const Json& source = inner && inner->is_object() ? *inner : *q;
    std::string algo = text(source, "quant_algo");
    std::transform(algo.begin(), algo.end(), algo.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    f.modelopt_algo = algo;
    // utils/torch_utils.py get_kv_cache_quant_algo_string; a quantisation of the text part alone is not looked at.
    if (!from_text) {
      const Json* kv = nullptr;
      for (const auto& [object, key] : {std::pair{&source, "kv_cache_scheme"}, std::pair{q, "kv_cache_scheme"},
                                        std::pair{&source, "kv_cache_quant_algo"}, std::pair{q, "kv_cache_quant_algo"}})
        if (!kv) kv = field(*object, key);
      if (kv && kv->is_object()) {
        const auto bits = number(*kv, "num_bits");
        const auto* dynamic = field(*kv, "dynamic");
        const bool is_float = text(*kv, "type") == "float";
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
}

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

/// Multi-token prediction layers as speculative.py hf_config_override finds them: the key that holds their number.
/// "" = this model type has no MTP draft.
std::optional<int> mtp_layers(const Json& config, const Json& t, const std::string& architecture, VllmVersion version,
                              bool& supported) {
  const std::string type = text(config, "model_type");
  supported = true;
  auto from = [&](const Json& object, const char* key) -> std::optional<int> {
    const auto value = number(object, key);
    return value ? std::optional(static_cast<int>(*value)) : std::nullopt;
  };
  static const std::set<std::string, std::less<>> top = {
      "deepseek_v3", "deepseek_v32",   "glm_moe_dsa", "deepseek_v4", "deepseek_mtp", "pangu_ultra_moe", "ernie4_5_moe",
      "qwen3_next",  "bailing_hybrid", "exaone_moe",  "hy_v3",       "hy_v4",        "dots3_note",      "deepseek_v41"};
  if (top.contains(type) && type != "deepseek_v41") return from(config, "num_nextn_predict_layers");
  if (type.find("exaone4_5") != std::string::npos) return from(config, "num_nextn_predict_layers");
  if (type == "longcat_flash") return from(config, "num_nextn_predict_layers").value_or(1);
  if (type == "kimi_k3") return from(t, "num_nextn_predict_layers");
  if (architecture == "MiMoForCausalLM" || architecture == "Glm4MoeForCausalLM" ||
      architecture == "Glm4MoeLiteForCausalLM" || architecture == "GlmOcrForConditionalGeneration")
    return from(config, "num_nextn_predict_layers");
  if (architecture == "MiMoV2ForCausalLM" || architecture == "MiMoV2OmniForCausalLM" ||
      architecture == "MiMoV2FlashForCausalLM")
    return 1;
  if ((type == "nemotron_h" || type == "nemotron_h_puzzle") && integer(config, {"num_nextn_predict_layers"}) > 0)
    return from(config, "num_nextn_predict_layers");
  if (type == "qwen3_5" || type == "qwen3_5_moe" || type == "qwen3_5_text" || type == "qwen3_5_moe_text") {
    if (const auto n = from(config, "mtp_num_hidden_layers")) return n;
    return from(t, "mtp_num_hidden_layers");
  }
  if (type == "step3p5" || type == "step3p7" || architecture == "Step3p5ForCausalLM" ||
      architecture == "Step3p7ForConditionalGeneration")
    return from(t, "num_nextn_predict_layers").value_or(1);
  if (type == "minimax_m3_vl" || architecture == "MiniMaxM3SparseForConditionalGeneration")
    return from(t, "num_mtp_modules").value_or(1);
  if (type == "gemma4_assistant" || type == "gemma4_unified_assistant") return 1;
  (void)version;
  supported = false;
  return std::nullopt;
}

}  // namespace

ModelFacts model_facts(const Json& config, const Json* hf_quant_config, const std::string& name, VllmVersion version) {
  ModelFacts f;
  f.name = name;
  f.config = std::make_shared<const Json>(config);
  const Json& c = *f.config;
  const Json& t = text_part(c);
  f.text_config = &t == &c ? f.config : std::make_shared<const Json>(t);
  f.model_type = text(c, "model_type");
  f.text_model_type = text(t, "model_type");
  if (const auto* list = field(c, "architectures");
      list && list->is_array() && !list->empty() && list->front().is_string())
    f.architecture = list->front().get<std::string>();
  if (f.model_type == "deepseek_v4" && integer(c, {"vision_n_layers"}) > 0 && f.architecture == "DeepseekV4ForCausalLM")
    f.architecture = "DeepseekV4ForConditionalGeneration";

  const auto* row = find_architecture(f.architecture);
  if (row && row->registered(version)) {
    f.registered = true;
    f.transformers_backend = row->kind == "transformers";
    f.supports_pp = row->supports_pp(version);
    f.is_attention_free = row->is_attention_free;
    f.supports_multimodal = row->supports_multimodal;
    f.has_inner_state = row->has_inner_state;
    f.is_hybrid = row->is_hybrid;
    if (f.is_hybrid)
      if (const auto* types = field(c, "layer_types"); types && types->is_array())
        f.is_hybrid = !std::all_of(types->begin(), types->end(),
                                   [](const Json& v) { return v == "attention" || v == "full_attention"; });
  } else {
    f.transformers_backend = true;
  }
  static const std::set<std::string, std::less<>> prefix_lm = {"bagel", "gemma3", "molmo2", "moondream3", "paligemma"};
  f.is_mm_prefix_lm = f.supports_multimodal &&
                      (prefix_lm.contains(f.model_type) ||
                       (f.model_type.starts_with("gemma4") && text(t, "use_bidirectional_attention") == "vision"));
  static const std::set<std::string, std::less<>> encoder_decoder = {"whisper", "bart",      "mbart",         "t5",
                                                                     "mllama",  "florence2", "nemotron_parse"};
  f.is_encoder_decoder = encoder_decoder.contains(f.model_type);

  f.num_hidden_layers = f.model_type == "longcat_flash"
                            ? integer(t, {"num_layers"})
                            : integer(t, {"num_hidden_layers", "n_layer", "n_layers", "num_layers"});
  if (const auto* blocks = field(t, "layers_block_type");
      blocks && blocks->is_array() && f.text_model_type.starts_with("nemotron_h"))
    f.num_hidden_layers = static_cast<int>(blocks->size());
  if (f.num_hidden_layers == 0)
    if (const auto pattern = text(t, "hybrid_override_pattern"); !pattern.empty())
      f.num_hidden_layers = static_cast<int>(pattern.size());
  f.num_attention_heads = integer(t, {"num_attention_heads", "n_head", "n_heads"});
  if (f.model_type == "mamba" || f.model_type == "mamba2" || f.model_type == "falcon_mamba") f.num_attention_heads = 0;
  f.num_key_value_heads = kv_heads(t, f.model_type, f.num_attention_heads);
  f.num_experts = expert_count(t);
  f.is_moe = f.num_experts > 0;
  f.is_mla = is_mla(t) &&
             !(field(t, "is_causal") && field(t, "is_causal")->is_boolean() && !field(t, "is_causal")->get<bool>());
  if (f.transformers_backend) f.is_mla = field(t, "kv_lora_rank") != nullptr;
  if (const auto groups = number(t, "n_group"))
    f.num_expert_group = static_cast<int>(*groups);
  else if (const auto other = number(t, "num_expert_group"))
    f.num_expert_group = static_cast<int>(*other);
  f.mtp_layers = mtp_layers(c, t, f.architecture, version, f.mtp_supported);
  f.num_nextn_predict_layers = f.mtp_layers.value_or(0);
  if (const auto window = number(t, "sliding_window")) f.sliding_window = static_cast<std::int64_t>(*window);
  if (const auto chunk = number(t, "attention_chunk_size"); chunk && !f.model_type.starts_with("mimo_v2"))
    f.attention_chunk_size = static_cast<std::int64_t>(*chunk);
  f.breakable_cudagraph = breakable(f.architecture, version);
  f.has_index_topk = field(c, "index_topk") != nullptr;

  f.known_type = knows_model_type(f.model_type, version);
  f.own_code = field(c, "auto_map") != nullptr;
  f.known_class = row != nullptr;
  derive_length(t, version, f);
  for (const Json* part : {&c, &t, field(c, "vision_config")}) {
    if (!part) continue;
    auto dtype = text(*part, "dtype");
    if (dtype.empty()) dtype = text(*part, "torch_dtype");
    if (dtype.empty()) continue;
    f.dtype = dtype.starts_with("torch.") ? dtype.substr(6) : dtype;
    break;
  }
  derive_quantisation(c, t, hf_quant_config, f);
  f.quantization = resolve_quantization(f, "", version).method;
  derive_construction(f);
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

ModelFacts model_facts(const Model& model, VllmVersion version) {
  const Json empty = Json::object();
  const Json& config = model.config ? *model.config : empty;
  return model_facts(config,
                     model.quant_config && !config.contains("quantization_config") ? model.quant_config.get() : nullptr,
                     model.name, version);
}

}  // namespace shardwise
