#include "parallel/config_checks.h"

#include <algorithm>
#include <set>
#include <vector>

#include "config/json.h"
#include "parallel/parser_table.h"

namespace shardwise {
namespace {

using Problem = std::optional<std::string>;

/// A configuration: what was given, and vLLM's defaults behind it.
class ConfigView {
 public:
  ConfigView(std::string_view config, const Json& given, VllmVersion version) : values_(given), version_(version) {
    for (const auto* field : config_fields(config, version))
      if (!values_.contains(field->field) && !field->default_json.empty())
        values_[field->field] = Json::parse(field->default_json);
  }
  bool set(const char* name) const { return values_.contains(name) && !values_[name].is_null(); }
  bool on(const char* name) const {
    if (!set(name)) return false;
    const auto& value = values_[name];
    if (value.is_boolean()) return value.get<bool>();
    return value.is_string() || value.is_array() || value.is_object() ? !value.empty() && value != "" : value != 0;
  }
  bool is(const char* name, const Json& value) const { return set(name) && values_[name] == value; }
  bool is_one_of(const char* name, std::initializer_list<const char*> words) const {
    return std::any_of(words.begin(), words.end(), [&](const char* word) { return is(name, word); });
  }
  double number(const char* name) const { return set(name) ? values_[name].get<double>() : 0; }
  std::vector<std::string> texts(const char* name) const {
    return set(name) ? values_[name].get<std::vector<std::string>>() : std::vector<std::string>{};
  }
  std::vector<std::string> objects(const char* name) const {
    std::vector<std::string> texts;
    if (set(name))
      for (const auto& value : values_[name])
        if (value.is_string()) texts.push_back(value.get<std::string>());
    return texts;
  }
  bool all_positive(const char* name) const {
    return !set(name) || std::all_of(values_[name].begin(), values_[name].end(), [](const Json& v) { return v > 0; });
  }
  bool from(int minor) const { return version_ >= VllmVersion{0, minor, 0}; }

 private:
  Json values_;
  VllmVersion version_;
};

Problem unless(bool right, const char* message) { return right ? Problem() : Problem(message); }

Problem eplb(const ConfigView& c) {
  if (c.on("use_async") && !c.is("policy", "default")) return "Async EPLB is only supported with the default policy.";
  if (c.on("log_balancedness") && c.number("log_balancedness_interval") <= 0)
    return "log_balancedness_interval must be greater than 0.";
  return unless(!(c.from(24) && c.on("use_async") && c.is_one_of("communicator", {"torch_nccl", "pynccl"})),
                "communicator torch_nccl and pynccl are incompatible with async EPLB; use torch_gloo or nixl");
}

Problem transfer(const ConfigView& c, const char* connector, const char* role, const char* message) {
  return unless(!c.set(connector) || c.set(role), message);
}

Problem kv_transfer(const ConfigView& c) {
  return transfer(c, "kv_connector", "kv_role",
                  "Please specify kv_role when kv_connector is set: kv_producer, kv_both or kv_consumer");
}

Problem ec_transfer(const ConfigView& c) {
  return transfer(c, "ec_connector", "ec_role",
                  "Please specify ec_role when ec_connector is set: ec_producer, ec_both or ec_consumer");
}

Problem encoder_cache(const ConfigView& c) {
  return unless(c.set("encoder_cache_manager_cls") || !c.on("manager_config"),
                "manager_config requires encoder_cache_manager_cls to be set.");
}

Problem engram(const ConfigView& c) {
  if (c.on("dp_shared_memory") && !c.on("cpu_offload")) return "dp_shared_memory requires cpu_offload=True";
  return unless(!c.on("use_thp") || (c.on("cpu_offload") && !c.on("dp_shared_memory")),
                "use_thp requires cpu_offload=True and dp_shared_memory=False");
}

Problem structured_outputs(const ConfigView& c) {
  if (c.on("disable_any_whitespace") && !c.is_one_of("backend", {"xgrammar", "guidance"}))
    return "disable_any_whitespace is only supported for xgrammar and guidance backends.";
  return unless(!c.on("disable_additional_properties") || c.is("backend", "guidance"),
                "disable_additional_properties is only supported for the guidance backend.");
}

Problem pooler(const ConfigView& c) {
  if (c.set("logit_bias") && c.set("logit_mean")) return "Cannot set both `logit_bias` and `logit_mean`.";
  if (c.set("logit_scale") && c.set("logit_sigma")) return "Cannot set both `logit_scale` and `logit_sigma`.";
  if ((c.from(20) && c.is("logit_scale", 0)) || c.is("logit_sigma", 0))
    return "logit_sigma cannot be 0 (division by zero)";
  return unless(!c.on("pooling_type") || !(c.set("seq_pooling_type") || c.set("tok_pooling_type")),
                "Cannot set both `pooling_type` and `seq_pooling_type` or `tok_pooling_type`");
}

Problem quantization(const ConfigView& c) {
  return unless(!c.set("targets") || !(c.set("linear") || c.set("moe")),
                "quantization_config.targets is mutually exclusive with quantization_config.linear/moe");
}

Problem torch_profiler(const ConfigView& c) {
  const bool torch = c.is("profiler", "torch");
  const auto activities = c.texts("torch_profiler_activities");
  if (c.set("torch_profiler_activities") && !torch)
    return "torch_profiler_activities is only applicable when profiler is set to 'torch'";
  if (std::set(activities.begin(), activities.end()).size() != activities.size())
    return "torch_profiler_activities must not contain duplicates";
  if (c.on("torch_profiler_dir") && !torch)
    return "torch_profiler_dir is only applicable when profiler is set to 'torch'";
  if (torch && !c.on("torch_profiler_dir")) return "torch_profiler_dir must be set when profiler is 'torch'";
  return unless(!c.on("capture_torch_profiler") || torch,
                "capture_torch_profiler is only applicable when profiler is set to 'torch'");
}

bool proton_is_default(const ConfigView& c) {
  return !c.on("proton_profiler_dir") && (!c.set("proton_context") || c.is("proton_context", "shadow")) &&
         (!c.set("proton_data") || c.is("proton_data", "tree")) && !c.set("proton_backend") && !c.set("proton_mode") &&
         !c.set("proton_hook") && !c.set("proton_output_format") && !c.on("proton_graph_attribution");
}

Problem profiler(const ConfigView& c) {
  if (auto problem = torch_profiler(c)) return problem;
  if (!c.is("profiler", "proton"))
    return unless(proton_is_default(c), "options of proton are only applicable when profiler is set to 'proton'");
  if (!c.on("proton_profiler_dir")) return "proton_profiler_dir must be set when profiler is 'proton'";
  if (c.on("proton_graph_attribution") && !c.is("proton_data", "tree"))
    return "proton_graph_attribution requires proton_data='tree'";
  if (c.is("proton_output_format", "chrome_trace") && !c.is("proton_data", "trace"))
    return "chrome_trace output requires proton_data='trace'";
  return unless(!c.is_one_of("proton_output_format", {"hatchet", "hatchet_msgpack"}) || c.is("proton_data", "tree"),
                "hatchet output requires proton_data='tree'");
}

/// "all", "none", "+op", "-op".
Problem custom_ops(const ConfigView& c) {
  std::set<std::string> on, off;
  std::size_t modes = 0;
  for (const auto& op : c.texts("custom_ops")) {
    if (op == "all" || op == "none")
      ++modes;
    else if (op.empty() || (op[0] != '+' && op[0] != '-') || (c.from(27) && op.size() < 2))
      return "Invalid syntax '" + op + "' for custom op, must be 'all', 'none', '+op' or '-op'";
    else
      (op[0] == '+' ? on : off).insert(op.substr(1));
  }
  if (modes > 1) return "custom_ops can contain only one base mode: 'all' or 'none'";
  const bool both = std::any_of(on.begin(), on.end(), [&](const auto& op) { return off.contains(op); });
  return unless(!(c.from(27) && both), "custom_ops cannot both enable and disable the same operation");
}

/// Functions that are imported by their names.
bool importable(const ConfigView& c, const char* name) {
  const auto names = c.objects(name);
  return std::all_of(names.begin(), names.end(), [](const std::string& of) { return of.find('.') != of.npos; });
}

Problem compilation(const ConfigView& c) {
  if (auto problem = custom_ops(c)) return problem;
  if (!importable(c, "inductor_passes")) return "inductor_passes are functions, each as module.name";
  if ((c.is("mode", 3) || c.is("mode", "VLLM_COMPILE")) && c.on("backend") &&
      !c.is_one_of("backend", {"eager", "inductor"}))
    return "Invalid backend for piecewise compilation: eager or inductor";
  if (c.on("cudagraph_mm_encoder") && (c.number("encoder_cudagraph_max_vision_items_per_batch") < 0 ||
                                       c.number("encoder_cudagraph_max_frames_per_batch") < 0))
    return "the encoder's CUDA graph limits must be non-negative";
  if (c.from(22) && !c.all_positive("encoder_cudagraph_token_budgets"))
    return "All encoder_cudagraph_token_budgets must be positive";
  return unless(c.all_positive("decoder_replay_cudagraph_capture_sizes"),
                "All decoder_replay_cudagraph_capture_sizes must be positive");
}

Problem attention(const ConfigView& c) {
  if (c.on("use_cudnn_prefill") && !c.set("mla_prefill_backend") && c.from(21))
    return "The cuDNN MLA prefill backend has been removed; use mla_prefill_backend.";
  if (c.from(28) && c.on("use_fp4_indexer_cache") && c.set("indexer_kv_dtype") &&
      !c.is_one_of("indexer_kv_dtype", {"auto", "mxfp4"}))
    return "use_fp4_indexer_cache conflicts with indexer_kv_dtype; set only indexer_kv_dtype.";
  return unless(
      !c.on("minimax_m3_indexer_cp") || c.is_one_of("indexer_kv_dtype", {"auto", "bf16", "fp8", "fp8_e4m3"}),
      "minimax_m3_indexer_cp requires a bf16 or fp8 e4m3 index cache: indexer_kv_dtype auto, bf16, fp8 or fp8_e4m3");
}

struct ConfigCheck {
  std::string_view config;
  Problem (*problem)(const ConfigView&);
};

constexpr ConfigCheck kChecks[] = {{"AttentionConfig", attention},
                                   {"EPLBConfig", eplb},
                                   {"KVTransferConfig", kv_transfer},
                                   {"ECTransferConfig", ec_transfer},
                                   {"EncoderCacheManagerConfig", encoder_cache},
                                   {"EngramConfig", engram},
                                   {"StructuredOutputsConfig", structured_outputs},
                                   {"PoolerConfig", pooler},
                                   {"QuantizationConfigArgs", quantization},
                                   {"OnlineQuantizationConfigArgs", quantization},
                                   {"ProfilerConfig", profiler},
                                   {"CompilationConfig", compilation}};

}  // namespace

std::optional<std::string> config_problem(std::string_view config, const Json& given, VllmVersion version) {
  for (const auto& check : kChecks)
    if (check.config == config) return check.problem(ConfigView(config, given, version));
  return std::nullopt;
}

}  // namespace shardwise
