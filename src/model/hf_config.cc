// config.json -> Model.
#include <algorithm>
#include <cmath>
#include <limits>

#include "base/input_error.h"
#include "base/saturate.h"
#include "base/text.h"
#include "config/json.h"
#include "config/json_fields.h"
#include "config/ranges.h"
#include "model/layers.h"
#include "model/load.h"
#include "model/quantisation.h"
#include "model/source.h"
#include "model/vision.h"

namespace shardwise {
namespace {

// Python writes NaN and Infinity into JSON; no field that matters holds them. They become null, at the same width.
std::string without_infinities(std::string_view text) {
  std::string out(text);
  bool in_string = false;
  for (std::size_t i = 0; i < out.size(); ++i) {
    if (in_string) {
      if (out[i] == '\\')
        ++i;
      else if (out[i] == '"')
        in_string = false;
      continue;
    }
    if (out[i] == '"') in_string = true;
    for (const std::string_view word : {"-Infinity", "Infinity", "NaN"})
      if (std::string_view(out).substr(i).starts_with(word)) {
        out.replace(i, word.size(), word.size() < 4 ? "0  " : "null" + std::string(word.size() - 4, ' '));
        i += word.size() - 1;
        break;
      }
  }
  return out;
}

const Json* nested(const Json& config, const char* key) {
  const auto it = config.find(key);
  return it != config.end() && it->is_object() && !it->empty() ? &*it : nullptr;
}

DType read_dtype(const Fields& top, const Fields& text) {
  std::string word = top.text({"dtype", "torch_dtype"});
  if (word.empty()) word = text.text({"dtype", "torch_dtype"});
  if (word.starts_with("torch.")) word = word.substr(6);
  if (word == "float16" || word == "half") return DType::float16;
  if (word == "float32" || word == "float")
    return DType::bfloat16;  // vLLM's "auto" serves float32 checkpoints in 16 bits
  return DType::bfloat16;
}

// vLLM: config/model.py _get_and_verify_max_len, and derive_max_model_len_and_key for the fields.
void derive_max_len(const Fields& top, const Fields& text, Model& model) {
  double longest = std::numeric_limits<double>::infinity();
  for (const char* key : {"max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length",
                          "max_target_positions", "max_sequence_length", "max_seq_length", "seq_len"})
    if (const auto value = text.number({key})) {
      if (!(*value >= 1)) text.fail(key, "is " + number_text(*value) + ", out of range", "tokens, at least 1");
      longest = std::min(longest, *value);
    }
  if (const auto value = text.number({"model_max_length"}); value && *value > 0) longest = *value;
  if (!(longest >= 1) || longest > 1e15) {
    model.default_max_model_len = 2048;
    return;
  }
  double factor = 1;
  bool longrope = false;
  const auto look = [&](const Json& rope) {
    const auto word = rope.find("rope_type") != rope.end() ? rope.find("rope_type") : rope.find("type");
    const std::string type = word != rope.end() && word->is_string() ? word->get<std::string>() : "default";
    if (type == "su" || type == "longrope") longrope = true;
    for (const char* scaled :
         {"su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling", "mrope", "default"})
      if (type == scaled) return;
    if (const auto it = rope.find("factor"); it != rope.end() && it->is_number()) factor = it->get<double>();
  };
  const auto gemma3 = model.model_type.find("gemma3") != std::string::npos;
  for (const char* key : {"rope_scaling", "rope_parameters"})
    if (const Json* rope = text.find({key}); rope && rope->is_object()) {
      look(*rope);
      for (const auto& part : *rope)
        if (part.is_object()) look(part);
    }
  if (!gemma3 && factor > 0 && factor < 1e6) longest *= factor;
  model.default_max_model_len = static_cast<std::int64_t>(std::min(longest, ranges::most_tokens));
  model.max_position_embeddings = model.default_max_model_len;
  if (longrope)
    if (const auto original = top.number({"original_max_position_embeddings"}); original && *original >= 1)
      model.default_max_model_len = std::min(model.default_max_model_len, saturating_cast<std::int64_t>(*original));
}

// Rope parameters of one attention kind. Sizes: layers/rotary_embedding/__init__.py get_rope.
Rope read_rope(const Fields& text, bool sliding) {
  Rope r;
  r.theta = text.loose_number("rope_theta", r.theta);
  r.partial_rotary_factor = text.loose_number("partial_rotary_factor", 1);
  r.positions = text.loose_number("max_position_embeddings", r.positions);
  if (const double fixed = text.loose_number("rotary_dim", 0); fixed > 0 && r.partial_rotary_factor == 1)
    r.rotary_dim = fixed;
  std::optional<Fields> scaling;
  for (const char* key : {"rope_parameters", "rope_scaling"})
    if (const auto found = text.loose_object(key)) scaling = found;
  if (scaling)  // one entry per attention kind
    if (const auto kind = scaling->loose_object(sliding ? "sliding_attention" : "full_attention")) scaling = kind;
  if (sliding) {
    if (const double local = text.loose_number("rope_local_base_freq", 0); local > 0) r.theta = local, scaling.reset();
    if (const double local = text.loose_number("swa_rope_theta", 0); local > 0) r.theta = local;
  }
  if (!scaling) return r;
  r.theta = scaling->loose_number("rope_theta", r.theta);
  if (const double part = scaling->loose_number("partial_rotary_factor", -1); part >= 0)
    r.partial_rotary_factor = part, r.rotary_dim.reset();
  const std::string type = scaling->loose_text(scaling->json().contains("rope_type") ? "rope_type" : "type");
  if (!type.empty()) r.type = type;
  const double factor = scaling->loose_number("factor", 1);
  if (type == "yarn" || type == "deepseek_yarn")
    r.positions = scaling->loose_number("original_max_position_embeddings", r.positions) * factor;
  if (type == "linear") r.positions *= factor;
  if (type == "proportional") r.partial_rotary_factor = 1, r.rotary_dim.reset();
  if (type == "longrope" || type == "su")
    r.positions += scaling->loose_number("original_max_position_embeddings",
                                         text.loose_number("original_max_position_embeddings", 0));
  return r;
}

// Type of the recurrent state, for classes that read it off config.json (model_executor/models/config.py).
std::string read_ssm_cache_dtype(const Fields& text, const Model& model) {
  const auto& [field, otherwise] = find_traits(model.architectures).ssm_cache;
  const std::string stated = field ? text.loose_text(field) : "";
  return stated.empty() ? std::string(otherwise) : stated;
}

void read_details(const Fields& text, Model& model) {
  const auto whole = [&](const char* name, double otherwise) {
    return static_cast<int>(std::clamp(text.loose_number(name, otherwise), -1e9, 2e9));
  };
  model.rope = read_rope(text, false);
  model.sliding_rope = read_rope(text, true);
  model.learned_positions = whole("max_position_embeddings", whole("n_positions", 1024));
  if (model.model_type.starts_with("gemma")) model.num_kv_shared_layers = whole("num_kv_shared_layers", 0);
  if (const int tokens = whole("index_topk", 0); tokens > 0) model.index_topk = tokens;
  if (const int streams = whole("hc_mult", -1); streams >= 0) model.hc_mult = streams;
  if (const int size = whole("attn_res_block_size", 0); size > 0) model.attn_res_block_size = size;
  model.parallel_attn =
      !text.loose_boolean({"new_decoder_architecture"}, false) && text.loose_boolean({"parallel_attn"}, true);
  model.bidirectional_vision = text.loose_text("use_bidirectional_attention") == "vision";
  model.ssm_cache_dtype = read_ssm_cache_dtype(text, model);
}

// Names of the fields that no reader looked at, so that a generic plan can say what it left out.
std::vector<std::string> unused_fields(const Json& config, const std::string& prefix,
                                       const std::set<std::string>& used) {
  static constexpr const char* kIrrelevant[] = {"architectures", "model_type", "transformers_version", "_name_or_path",
                                                "auto_map",      "use_cache",  "torch_dtype",          "dtype"};
  std::vector<std::string> out;
  for (const auto& [key, value] : config.items()) {
    const std::string path = prefix.empty() ? key : prefix + "." + key;
    const bool skip =
        std::any_of(std::begin(kIrrelevant), std::end(kIrrelevant), [name = key](const char* k) { return name == k; });
    if (!skip && !used.count(path)) out.push_back(key);
  }
  return out;
}

bool names_experts(const Json& text) {
  return text.contains("n_routed_experts") || text.contains("num_experts") || text.contains("num_local_experts");
}

bool tied(const Fields& top, const Fields& text, bool is_nested) {
  // The top level decides for multimodal models where it speaks, else the language part, else its class default.
  if (is_nested && top.json().contains("tie_word_embeddings")) return top.boolean({"tie_word_embeddings"}, false);
  return text.boolean({"tie_word_embeddings"}, false);
}

}  // namespace

std::pair<const Json*, std::string> text_part(const Json& config) {
  if (const Json* thinker = nested(config, "thinker_config"))
    if (const Json* text = nested(*thinker, "text_config")) return {text, "thinker_config.text_config"};
  for (const char* key : {"text_config", "language_config", "llm_config", "language_model_config"})
    if (const Json* text = nested(config, key)) return {text, key};
  return {&config, ""};
}

const Json* stated_quantisation(const ModelSource& source) {
  for (const Json* where : {&source.config, text_part(source.config).first})
    for (const char* key : {"quantization_config", "compression_config"})
      if (const Json* q = nested(*where, key)) return q;
  return source.hf_quant_config.is_object() ? &source.hf_quant_config : nullptr;
}

bool name_modelopt(ModelSource& source) {
  Json& q = source.hf_quant_config;
  if (!q.is_object() || q.contains("quant_method")) return false;
  Json& inner = nested(q, "quantization") ? q["quantization"] : q;
  const std::string algo = text_at(inner, "quant_algo").value_or("");
  if (algo.empty() || (&inner != &q && q.contains("producer"))) return false;
  // ModelOpt never quantises the head; NVFP4 of a mixture of experts commonly is of the experts alone.
  if (!inner.contains("exclude_modules") && !q.contains("ignore"))
    inner["exclude_modules"] = algo == "NVFP4" && names_experts(*text_part(source.config).first)
                                   ? Json({"lm_head", "*gate", "*attn*", "*in_proj", "*out_proj", "*q_proj", "*k_proj",
                                           "*v_proj", "*o_proj", "*latent*", "*shared_expert*", "mtp*"})
                                   : Json({"lm_head", "*gate", "mtp*"});
  q["quant_method"] = algo == "NVFP4"             ? "modelopt_fp4"
                      : algo == "MIXED_PRECISION" ? "modelopt_mixed"
                      : algo == "MXFP8"           ? "modelopt_mxfp8"
                                                  : "modelopt";
  return true;
}

Model read_hf_config(std::string_view config_text, std::string_view hf_quant_config_text, const std::string& file,
                     Producer producer) {
  const bool odd =
      config_text.find("Infinity") != std::string_view::npos || config_text.find("NaN") != std::string_view::npos;
  ModelSource source;
  source.config = odd ? parse_json(without_infinities(config_text), file) : parse_json(config_text, file);
  if (!source.config.is_object())
    throw InputError(file, 1, "", "is not a JSON object", "give a Hugging Face config.json");
  const std::string beside = file + " (hf_quant_config.json)";
  if (!hf_quant_config_text.empty() && !stated_quantisation(source)) {
    source.hf_quant_config = parse_json(hf_quant_config_text, beside);
    if (!source.hf_quant_config.is_object()) throw InputError(beside, 1, "", "is not a JSON object");
  }
  const bool named = producer == Producer::assumed && name_modelopt(source);
  Model model = read_source(std::move(source), config_text, file);
  if (named) model.remarks.emplace_back(kProducerRemark);
  return model;
}

Model read_source(ModelSource given, std::string_view config_text, const std::string& file) {
  const auto source = std::make_shared<const ModelSource>(std::move(given));
  const Json* config = &source->config;
  const auto [text_json, text_path] = text_part(*config);
  FieldContext context{file, config_text, {}};

  Model model;
  const Fields top(*config, "", context);
  model.architectures = top.texts("architectures");
  const Fields bare_text(*text_json, text_path, context);
  model.model_type = bare_text.text({"model_type"}, top.text({"model_type"}));
  const Json defaults = class_defaults(model.model_type);
  // At the top level the sizes must be stated; the class supplies the rest. A nested language part may leave sizes out
  // too.
  Json soft = defaults;
  if (text_path.empty())
    for (const char* size : {"hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
                             "intermediate_size", "n_embd", "n_layer", "n_head"})
      soft.erase(size);
  const Fields text(*text_json, text_path, context, &soft);

  if (model.architectures.empty() && model.model_type.empty())
    top.fail("architectures", "is missing, and so is model_type; the model cannot be recognised",
             "write \"architectures\": [\"LlamaForCausalLM\"]");
  const Architecture& row = find_traits(model.architectures);
  model.generic = row.generic;
  model.dtype = read_dtype(top, text);
  model.hidden_size = text.required({"hidden_size", "n_embd", "d_model", "model_dim"});
  int num_layers = text.integer_or({"num_hidden_layers", "n_layer", "num_layers", "n_layers"}, 0);
  for (const char* list : {"layers_block_type", "hybrid_override_pattern", "layer_types", "block_configs"})
    if (num_layers < 1)
      if (const Json* kinds = text.find({list}))
        num_layers = static_cast<int>(kinds->is_string() ? kinds->get_ref<const std::string&>().size() : kinds->size());
  if (num_layers < 1) num_layers = text.required({"num_hidden_layers", "n_layer", "num_layers", "n_layers"});
  if (num_layers > 4096) text.fail("num_hidden_layers", "is larger than 4096");
  model.vocab_size = text.required({"vocab_size", "padded_vocab_size"});
  model.tie_word_embeddings = tied(top, text, !text_path.empty());
  model.num_mtp_layers =
      text.integer_or({"num_nextn_predict_layers", "mtp_num_hidden_layers", "num_mtp_modules", "num_mtp_layers"}, 0);

  const LayerContext layers{text, row.generic ? nullptr : &row, model.model_type, num_layers, model.hidden_size};
  const auto attention = read_attention(layers);
  const auto ffn = read_ffn(layers);
  model.layers.reserve(attention.size());
  for (std::size_t i = 0; i < attention.size(); ++i) model.layers.push_back({attention[i], ffn[i], std::nullopt});
  if (model.model_type == "falcon_h1")
    for (auto& layer : model.layers) layer.parallel_state = read_state_mixer(layers);

  derive_max_len(top, text, model);
  model.vision = read_vision(top);
  model.nested_text = text_json != config;
  read_details(bare_text, model);
  model.mtp_layers = read_mtp_layers(bare_text, model);
  const std::string prefix = text_path.empty() ? "" : text_path + ".";
  for (const auto& name : context.used)
    model.fields_used.push_back(name.starts_with(prefix) ? name.substr(prefix.size()) : name);
  model.fields_ignored = unused_fields(*text_json, text_path, context.used);
  read_quantisation(stated_quantisation(*source), *text_json, model);
  model.source = source;
  model.name = file;
  return model;
}

Model with_overrides(const Model& model, const std::string& overrides) {
  const Json changes = parse_json(overrides, "--hf-overrides");
  if (!changes.is_object())
    throw InputError("--hf-overrides", 0, "", "must be an object of config.json fields",
                     R"(write e.g. '{"num_hidden_layers": 4}')");
  if (!model.source) return model;
  ModelSource source = *model.source;
  source.config.merge_patch(changes);
  const std::string text = source.config.dump();
  Model out = read_source(std::move(source), text, model.name);
  out.stand_in = model.stand_in;
  out.remarks = model.remarks;
  return out;
}

}  // namespace shardwise
