#include "model/quantisation.h"

#include <algorithm>

#include "base/text.h"
#include "config/json.h"
#include "config/json_fields.h"
#include "model/source.h"

namespace shardwise {
namespace {

using Method = QuantScheme::Method;

void add_strings(const Json& object, const char* key, std::vector<std::string>& out) {
  const Json* items = array_at(object, key);
  if (!items) return;
  for (const auto& item : *items)
    if (item.is_string()) out.push_back(item.get<std::string>());
}

bool glob(std::string_view pattern, std::string_view text) {
  std::size_t p = 0, t = 0, star = std::string_view::npos, mark = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*')
      star = p++, mark = t;
    else if (p < pattern.size() && (pattern[p] == text[t] || pattern[p] == '?'))
      ++p, ++t;
    else if (star != std::string_view::npos)
      p = star + 1, t = ++mark;
    else
      return false;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

// ModelOpt's names for an algorithm (vLLM: layers/quantization/modelopt.py).
QuantScheme modelopt_scheme(const std::string& algo, int group_size) {
  QuantScheme s;
  if (algo == "FP8")
    s = {.method = Method::fp8_tensor, .bits = 8, .activations = true, .static_activations = true};
  else if (algo == "FP8_PER_CHANNEL_PER_TOKEN")
    s = {.method = Method::fp8_channel, .bits = 8, .activations = true};
  else if (algo == "FP8_PB_WO")
    s = {.method = Method::fp8_block, .bits = 8, .block_n = 128, .block_k = 128};
  else if (algo == "NVFP4")
    s = {.method = Method::nvfp4,
         .bits = 4,
         .group_size = group_size ? group_size : 16,
         .activations = true,
         .static_activations = true};
  else if (algo == "W4A16_NVFP4" || algo == "NVFP4_W4A16")
    s = {.method = Method::nvfp4, .bits = 4, .group_size = group_size ? group_size : 16};
  else if (algo == "MXFP8")
    s = {.method = Method::mxfp8, .bits = 8, .group_size = 32, .activations = true};
  else if (algo == "MXFP4")
    s = {.method = Method::mxfp4, .bits = 4, .group_size = 32};
  else if (!algo.empty())
    s = {.method = Method::other, .bits = 8};
  return s;
}

QuantScheme compressed_tensors_scheme(const Json& group) {
  QuantScheme s;
  const Json* weights = object_at(group, "weights");
  if (!weights) return s;
  const Json* input = object_at(group, "input_activations");
  const int bits = int_at(*weights, "num_bits").value_or(8), size = int_at(*weights, "group_size").value_or(0);
  const std::string type = text_at(*weights, "type").value_or(""),
                    strategy = text_at(*weights, "strategy").value_or("");
  s.bits = bits;
  s.activations = input != nullptr;
  s.static_activations =
      input && !bool_at(*input, "dynamic").value_or(true) && text_at(*input, "dynamic").value_or("").empty();
  s.zero_points = !bool_at(*weights, "symmetric").value_or(true);
  s.desc_act = text_at(*weights, "actorder").value_or("") == "group";
  if (type == "float" && bits == 4) {
    s.method = size == 32 ? Method::mxfp4 : Method::nvfp4;
    s.group_size = size ? size : 16;
  } else if (type == "float") {
    const auto block = weights->find("block_structure");
    s.method = strategy == "block" || (block != weights->end() && block->is_array()) ? Method::fp8_block
               : strategy == "channel"                                               ? Method::fp8_channel
               : strategy == "group" && size == 32                                   ? Method::mxfp8
                                                                                     : Method::fp8_tensor;
    if (s.method == Method::fp8_block) {
      s.block_n = s.block_k = 128;
      if (block != weights->end() && block->is_array() && block->size() == 2 && (*block)[0].is_number() &&
          (*block)[1].is_number())
        s.block_n = std::clamp((*block)[0].get<int>(), 1, 1 << 20),
        s.block_k = std::clamp((*block)[1].get<int>(), 1, 1 << 20);
    }
    if (s.method == Method::mxfp8) s.group_size = 32;
  } else if (input && bits == 8) {
    s.method = Method::int8_channel;
  } else {
    s.method = Method::int4_group;
    s.group_size = strategy == "channel" ? -1 : size;
  }
  return s;
}

}  // namespace

std::string_view canonical_module(std::string_view name) {
  for (bool again = true; again;) {
    again = false;
    for (const std::string_view root : {"model.", "language_model.", "backbone.", "text_model."})
      if (name.starts_with(root)) name.remove_prefix(root.size()), again = true;
  }
  return name;
}

ModulePattern::ModulePattern(std::string_view text)
    : text_(text), is_glob_(text.find('*') != std::string_view::npos), is_regex_(text.starts_with("re:")) {
  if (is_regex_) regex_ = NameRegex::compile(text.substr(3));
}

bool ModulePattern::covers(std::string_view module) const {
  if (is_regex_) return regex_ && regex_->matches_start(module);
  if (is_glob_) return glob(text_, module);
  return module.starts_with(text_) && (module.size() == text_.size() || module[text_.size()] == '.');
}

QuantRules::QuantRules(const Json& config) {
  const Json* nested = object_at(config, "quantization");
  const Json& q = nested ? *nested : config;
  method_ = to_lower(text_at(config, "quant_method").value_or(""));
  std::replace(method_.begin(), method_.end(), '_', '-');
  // Each method reads its own key (vLLM: the from_config functions of layers/quantization).
  const bool fp8 = method_ == "fp8" || method_ == "deepseek-v4-fp8";
  for (const char* key :
       {"ignore", "ignored_layers", "modules_to_not_convert", "exclude_modules", "exclude", "exclude_layers"}) {
    if (fp8 && (std::string_view(key) == "ignore" || std::string_view(key).starts_with("exclude"))) continue;
    add_strings(config, key, ignore_);
    if (nested) add_strings(*nested, key, ignore_);
  }
  const std::string algo = text_at(q, "quant_algo").value_or("");
  const int group_size = int_at(q, "group_size").value_or(0);
  if (const Json* layers = object_at(q, "quantized_layers")) {
    for (const auto& [name, value] : layers->items())
      if (value.is_object())
        by_module_.emplace_back(canonical_module(name), modelopt_scheme(text_at(value, "quant_algo").value_or(""),
                                                                        int_at(value, "group_size").value_or(0)));
    std::sort(by_module_.begin(), by_module_.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  }
  const Json* groups = object_at(config, "config_groups");
  // A ModelOpt file without quant_method is recognised by its producer and its nested "quantization" alone
  // (vLLM: model_arch_config_convertor.py _normalize_quantization_config); else the weights count as unquantised.
  const Json* producer = object_at(config, "producer");
  if (method_.empty() && nested && !algo.empty() &&
      ((producer && text_at(*producer, "name").value_or("") == "modelopt") ||
       nested->contains("modelopt_quant_config")))
    method_ = algo == "NVFP4" ? "modelopt-fp4" : "modelopt";
  if (method_ == "fp8") {
    common_ = {.method = Method::fp8_tensor,
               .bits = 8,
               .activations = true,
               .static_activations = text_at(config, "activation_scheme").value_or("") == "static"};
    if (const auto block = config.find("weight_block_size"); block != config.end() && block->is_array() &&
                                                             block->size() == 2 && (*block)[0].is_number() &&
                                                             (*block)[1].is_number())
      common_.method = Method::fp8_block, common_.block_n = std::clamp((*block)[0].get<int>(), 1, 1 << 20),
      common_.block_k = std::clamp((*block)[1].get<int>(), 1, 1 << 20);
    if (const auto experts = text_at(config, "moe_quant_algo").value_or(""); !experts.empty())
      expert_scheme_ = modelopt_scheme(experts, group_size);
  } else if (method_.starts_with("modelopt")) {
    if (by_module_.empty() || algo != "MIXED_PRECISION")
      common_ = modelopt_scheme(algo.empty() ? (method_ == "modelopt-fp4" ? "NVFP4" : "FP8") : algo, group_size);
  } else if (method_ == "compressed-tensors") {
    if (groups)
      for (const auto& [name, group] : groups->items()) {
        if (!group.is_object()) continue;
        std::vector<std::string> targets;
        add_strings(group, "targets", targets);
        Group& made = groups_.emplace_back();
        made.linear = std::find(targets.begin(), targets.end(), "Linear") != targets.end();
        for (const auto& target : targets) made.targets.emplace_back(target);
        made.scheme = compressed_tensors_scheme(group);
      }
  } else if (method_ == "awq" || method_ == "awq-marlin") {
    common_ = {.method = Method::awq,
               .bits = int_at(config, "bits").value_or(int_at(config, "w_bit").value_or(4)),
               .group_size = int_at(config, "group_size").value_or(int_at(config, "q_group_size").value_or(128)),
               .zero_points = bool_at(config, "zero_point").value_or(true)};
  } else if (method_ == "gptq" || method_ == "gptq-marlin" || method_ == "auto-round" || method_ == "inc") {
    common_ = {.method = Method::gptq,
               .bits = int_at(config, "bits").value_or(4),
               .group_size = int_at(config, "group_size").value_or(128),
               .zero_points = !bool_at(config, "sym").value_or(true),
               .desc_act = bool_at(config, "desc_act").value_or(false)};
  } else if (method_ == "mxfp4" || method_ == "gpt-oss-mxfp4") {
    common_ = {.method = Method::mxfp4, .bits = 4, .group_size = 32};
    experts_only_ = true;
  } else if (method_ == "mxfp8") {
    common_ = {.method = Method::mxfp8, .bits = 8, .group_size = 32, .activations = true};
  } else if (method_ == "fbgemm-fp8") {
    common_ = {.method = Method::fp8_channel, .bits = 8, .activations = true};
  } else if (!method_.empty()) {
    const int bits = bool_at(config, "load_in_8bit").value_or(bool_at(config, "_load_in_8bit").value_or(false))
                         ? 8
                         : int_at(config, "bits").value_or(4);
    common_ = {.method = Method::other, .bits = bits};
  }
  mixed_ = !by_module_.empty() && method_.starts_with("modelopt");
  for (const auto& pattern : ignore_) {
    if (pattern.starts_with("re:") || pattern.find('*') != std::string::npos) {
      // "parent*" of one parent is as common as a plain name, and found faster as one.
      const bool tail =
          pattern.ends_with('*') && pattern.find('*') + 1 == pattern.size() && !pattern.starts_with("re:");
      const auto stem = tail ? std::string_view(pattern).substr(0, pattern.size() - (pattern.ends_with(".*") ? 2 : 1))
                             : std::string_view();
      if (tail && !stem.empty() && stem.find('.') != std::string_view::npos) plain_.emplace(canonical_module(stem));
      if (!tail || !pattern.ends_with(".*"))
        patterns_.emplace_back(pattern.starts_with("re:") ? pattern : std::string(canonical_module(pattern)));
    } else if (pattern.find('.') == std::string::npos) {
      bare_.push_back(pattern);
    } else {
      plain_.emplace(canonical_module(pattern));
    }
  }
  const std::string kv = to_lower(text_at(q, "kv_cache_quant_algo").value_or(""));
  const Json* scheme = object_at(config, "kv_cache_scheme");
  if (kv == "fp8" || to_lower(text_at(config, "kv_cache_scheme").value_or("")) == "fp8" ||
      (scheme && int_at(*scheme, "num_bits").value_or(0) == 8))
    kv_cache_dtype_ = DType::fp8_e4m3;
  if (kv == "nvfp4") kv_cache_dtype_ = DType::fp4;
}

bool QuantRules::ignored(std::string_view module) const {
  if (plain_.count(std::string(module))) return true;
  for (std::size_t dot = module.rfind('.'); dot != std::string_view::npos && dot > 0; dot = module.rfind('.', dot - 1))
    if (plain_.count(std::string(module.substr(0, dot)))) return true;
  const std::string nested = "language_model.model." + std::string(module);
  const auto below_model = std::string_view(nested).substr(std::string_view("language_model.").size());
  for (const auto& pattern : patterns_)
    if (pattern.covers(module) || pattern.covers(below_model) || pattern.covers(nested)) return true;
  for (const auto& word : bare_)
    if (module == word || module.ends_with("." + word) || module.find("." + word + ".") != std::string_view::npos)
      return true;
  return false;
}

void QuantRules::set_deepseek_v4(const std::string& expert_dtype) {
  if (!expert_dtype.empty() && expert_dtype != "fp4") return;
  common_.e8m0_scales = true;
  mixed_ = false;
  by_module_.clear();
  if (!expert_scheme_) expert_scheme_ = QuantScheme{.method = Method::mxfp4, .bits = 4, .group_size = 32};
}

QuantScheme QuantRules::scheme(std::string_view full_name, Module kind) const {
  const std::string_view module = canonical_module(full_name);
  if (method_.empty() || kind == Module::embedding) return {};
  if (!by_module_.empty()) {
    auto it = std::lower_bound(by_module_.begin(), by_module_.end(), module,
                               [](const auto& entry, std::string_view m) { return entry.first < m; });
    if (it != by_module_.end() &&
        (it->first == module || (std::string_view(it->first).starts_with(module) && it->first[module.size()] == '.')))
      return it->second;
    if (mixed_) return {};
  }
  if (ignored(module)) return {};
  if (kind == Module::lm_head && method_ != "modelopt" && method_ != "modelopt-fp4" && groups_.empty()) return {};
  if (experts_only_ && kind != Module::experts) return {};
  if (kind == Module::experts && expert_scheme_) return *expert_scheme_;
  for (const auto& group : groups_)
    if ((group.linear && kind != Module::lm_head) ||
        std::any_of(group.targets.begin(), group.targets.end(), [&](const auto& t) { return t.covers(module); }))
      return group.scheme;
  return groups_.empty() ? common_ : QuantScheme{};
}

namespace {

/// By kind: what the last layer that has such a module stores.
Quantisation summarise(const QuantRules& rules, const Model& model) {
  Quantisation out;
  out.quant_method = rules.method();
  out.ignore = rules.ignore();
  out.kv_cache_dtype = rules.kv_cache_dtype();
  if (rules.method().empty()) return out;
  using Module = QuantRules::Module;
  // The last layer that has such a module.
  const auto last = [&](auto&& has, const char* name, Module kind) {
    for (std::size_t i = model.layers.size(); i-- > 0;)
      if (has(model.layers[i])) return rules.scheme("layers." + std::to_string(i) + "." + name, kind);
    return QuantScheme{};
  };
  const auto moe = [](const Layer& l) { return std::get_if<MoeFfn>(&l.ffn); };
  out.attention = last(
      [](const Layer& l) {
        return std::holds_alternative<MlaAttention>(l.attention) || std::holds_alternative<FullAttention>(l.attention);
      },
      "self_attn.o_proj", Module::linear);
  out.dense_mlp =
      last([](const Layer& l) { return std::holds_alternative<DenseFfn>(l.ffn); }, "mlp.down_proj", Module::linear);
  out.routed_experts = last(moe, "mlp.experts.0.down_proj", Module::experts);
  out.shared_experts = last([&](const Layer& l) { return moe(l) && moe(l)->shared_intermediate_size != 0; },
                            "mlp.shared_experts.down_proj", Module::linear);
  out.lm_head = rules.scheme("lm_head", Module::lm_head);
  return out;
}

/// Only ModelOpt checkpoints decide the cache's type: by quant_method, or by the producer named in hf_quant_config.json
/// (utils/torch_utils.py:get_kv_cache_quant_algo_string).
bool is_modelopt(const Json& q) {
  if (const auto it = q.find("quant_method"); it != q.end() && it->is_string())
    return it->get_ref<const std::string&>().starts_with("modelopt");
  const Json* producer = object_at(q, "producer");
  return q.contains("quantization") && producer && text_at(*producer, "name").value_or("") == "modelopt";
}

}  // namespace

void read_quantisation(const Json* stated, const Json& text_config, Model& model) {
  model.quantisation = {};
  if (!stated) return;
  QuantRules rules(*stated);
  if (model.model_type == "deepseek_v4" && rules.method() == "fp8")
    rules.set_deepseek_v4(text_at(text_config, "expert_dtype").value_or(""));
  set_quantisation(std::move(rules), model);
  model.quantisation.decides_kv_cache = is_modelopt(*stated);
}

void set_quantisation(QuantRules rules, Model& model) {
  model.quantisation = summarise(rules, model);
  model.quantisation.rules = std::make_shared<const QuantRules>(std::move(rules));
}

const QuantRules& quant_rules(const Model& model) {
  static const QuantRules none;
  return model.quantisation.rules ? *model.quantisation.rules : none;
}

}  // namespace shardwise
