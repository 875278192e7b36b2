#include "model/mistral_params.h"

#include <algorithm>
#include <array>
#include <span>
#include <utility>

#include "base/input_error.h"
#include "base/text.h"
#include "config/json.h"
#include "config/json_fields.h"
#include "model/source.h"

namespace shardwise {
namespace {

using Renamed = std::pair<const char*, const char*>;

/// Mistral's name, Hugging Face's.
constexpr std::array kFields = {
    Renamed{"dim", "hidden_size"},
    Renamed{"norm_eps", "rms_norm_eps"},
    Renamed{"n_kv_heads", "num_key_value_heads"},
    Renamed{"n_layers", "num_hidden_layers"},
    Renamed{"n_heads", "num_attention_heads"},
    Renamed{"hidden_dim", "intermediate_size"},
    Renamed{"activation", "hidden_act"},
    Renamed{"tied_embeddings", "tie_word_embeddings"},
};
constexpr std::array kMoeFields = {
    Renamed{"route_every_n", "moe_layer_freq"},
    Renamed{"first_k_dense_replace", "first_k_dense_replace"},
    Renamed{"num_experts_per_tok", "num_experts_per_tok"},
    Renamed{"num_experts", "n_routed_experts"},
    Renamed{"expert_hidden_dim", "moe_intermediate_size"},
    Renamed{"routed_scale", "routed_scaling_factor"},
    Renamed{"num_shared_experts", "n_shared_experts"},
    Renamed{"num_expert_groups", "n_group"},
    Renamed{"num_expert_groups_per_tok", "topk_group"},
};
constexpr std::array kYarnFields = {
    Renamed{"factor", "factor"},
    Renamed{"original_max_position_embeddings", "original_max_position_embeddings"},
    Renamed{"beta", "beta_fast"},
    Renamed{"alpha", "beta_slow"},
};
constexpr int kDefaultLength = 128'000;

void move_fields(Json& from, Json& to, std::span<const Renamed> fields) {
  for (const auto& [old_name, new_name] : fields)
    if (const auto it = from.find(old_name); it != from.end()) {
      Json value = std::move(*it);
      from.erase(old_name);
      to[new_name] = std::move(value);
    }
}

bool holds(const Json& config, const char* key) {
  const auto it = config.find(key);
  return it != config.end() && !it->is_null() && !it->empty();
}

/// A window for each layer of a repeating pattern, null = full attention.
void remap_windows(Json& config, const std::string& file) {
  const auto it = config.find("sliding_window");
  if (it == config.end() || it->is_null()) return;
  const auto layers = static_cast<std::size_t>(int_at(config, "num_hidden_layers").value_or(0));
  Json kinds = Json::array(), window;
  if (it->is_array() && !it->empty()) {
    for (std::size_t i = 0; i < layers; ++i)
      kinds.push_back((*it)[i % it->size()].is_null() ? "full_attention" : "sliding_attention");
    for (const auto& w : *it)
      if (!w.is_null()) window = w;
  } else if (it->is_number_integer()) {
    for (std::size_t i = 0; i < layers; ++i) kinds.push_back("sliding_attention");
    window = *it;
  } else {
    throw InputError(file, 0, "sliding_window", "is neither a number nor a list of numbers and null");
  }
  config["sliding_window"] = window;
  config["layer_types"] = kinds;
}

void remap_quantisation(Json& config, const std::string& file) {
  if (!holds(config, "quantization")) return;
  Json q = config["quantization"];
  config.erase("quantization");
  std::string method = to_lower(text_at(q, "quant_method").value_or(""));
  std::replace(method.begin(), method.end(), '_', '-');
  if (text_at(q, "qformat_weight").value_or("") == "fp8_e4m3")
    q = {{"quant_method", "fp8"},
         {"activation_scheme", text_at(q, "qscheme_act").value_or("") == "NO_SCALES" ? "dynamic" : "static"}};
  else if (method == "compressed-tensors")
    q["quant_method"] = method;
  else
    throw InputError(file, 0, "quantization", "is of a kind that vLLM does not know",
                     R"(vLLM reads "qformat_weight": "fp8_e4m3" and compressed-tensors)");
  config["quantization_config"] = q;
}

/// MLA without experts is one expert that every layer is before.
Json dense_as_experts(const Json& config) {
  return {{"num_experts", 1},
          {"first_k_dense_replace", config.value("num_hidden_layers", Json(0))},
          {"route_every_n", 1},
          {"num_shared_experts", 1},
          {"expert_hidden_dim", config.value("intermediate_size", Json(0))},
          {"num_experts_per_tok", 1}};
}

void remap_experts(Json& config) {
  if (int_at(config, "qk_nope_head_dim").value_or(0) && !holds(config, "moe")) config["moe"] = dense_as_experts(config);
  config["architectures"] = Json::array({"MistralForCausalLM"});
  if (!holds(config, "moe")) return;
  Json moe = config["moe"];
  config.erase("moe");
  if (int_at(moe, "num_shared_experts").value_or(0) > 0) {
    move_fields(moe, config, kMoeFields);
    config["model_type"] = "deepseek_v3";
    config["architectures"] = Json::array({"MistralLarge3ForCausalLM"});
    config["norm_topk_prob"] = true;
    config["scoring_func"] = "softmax";
  } else {
    config["num_local_experts"] = moe.value("num_experts", Json(0));
    config["num_experts_per_tok"] = moe.value("num_experts_per_tok", Json(0));
    config["architectures"] = Json::array({"MixtralForCausalLM"});
  }
}

void remap_yarn(Json& config) {
  if (!holds(config, "yarn")) return;
  Json yarn = config["yarn"], rope = {{"rope_type", "yarn"}, {"mscale_all_dim", 1}};
  config.erase("yarn");
  if (const auto theta = config.find("rope_theta"); theta != config.end()) rope["rope_theta"] = *theta;
  move_fields(yarn, rope, kYarnFields);
  config["rope_parameters"] = rope;
}

/// The tower's own object around the language part.
Json with_tower(Json config) {
  const char* key = holds(config, "multimodal") ? "multimodal" : "vision_encoder";
  Json tower = config.value(key, Json());
  if (const auto inner = tower.is_object() ? tower.find("vision_encoder_args") : tower.end();
      tower.is_object() && inner != tower.end())
    tower = Json(*inner);
  if (!tower.is_object() || tower.empty()) return config;
  config.erase(key);
  Json out = {{"model_type", "pixtral"}, {"architectures", Json::array({"PixtralForConditionalGeneration"})}};
  if (const auto q = config.find("quantization_config"); q != config.end()) out["quantization_config"] = *q;
  out["dtype"] = config.value("dtype", Json("bfloat16"));
  out["text_config"] = std::move(config);
  out["vision_config"] = std::move(tower);
  return out;
}

}  // namespace

Model read_mistral_params(std::string_view text, const std::string& file) {
  Json config = parse_json(text, file);
  if (!config.is_object()) throw InputError(file, 1, "", "is not a JSON object", "give a Mistral params.json");
  if (!config.contains("dim") || !config.contains("n_layers"))
    throw InputError(file, 0, config.contains("dim") ? "n_layers" : "dim", "is missing",
                     "give a Mistral params.json, or a directory with config.json");
  Json renamed = config;
  move_fields(renamed, renamed, kFields);
  if (!renamed.contains("model_type")) renamed["model_type"] = "transformer";
  if (!holds(renamed, "max_position_embeddings"))
    renamed["max_position_embeddings"] = renamed.value("max_seq_len", Json(kDefaultLength));
  if (!renamed.contains("dtype")) renamed["dtype"] = "bfloat16";
  remap_windows(renamed, file);
  remap_quantisation(renamed, file);
  remap_experts(renamed);
  remap_yarn(renamed);
  ModelSource source{with_tower(std::move(renamed)), {}};
  Model model = read_source(std::move(source), text, file);
  model.remarks.emplace_back(
      "read from Mistral's params.json, which vLLM takes where consolidated*.safetensors lie "
      "beside it");
  return model;
}

}  // namespace shardwise
