#include "measured/startup_launch.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>

#include "base/input_error.h"
#include "base/text.h"
#include "config/quantity.h"
#include "memory/startup.h"
#include "model/load.h"
#include "model/requantise.h"
#include "parallel/checked_versions.h"
#include "parallel/resolve.h"

namespace shardwise {

namespace {

/// The number that a cell begins with: "0.9 (default)" is 0.9.
std::optional<double> leading_number(std::string_view text) {
  if (text.empty() || !(std::isdigit(static_cast<unsigned char>(text[0])) || text[0] == '-')) return std::nullopt;
  double value = 0;
  const auto end = std::min(text.find_first_not_of("0123456789.-+eE"), text.size());
  return parse_number(text.substr(0, end), value) ? std::optional(value) : std::nullopt;
}

int count(const std::string& text) { return static_cast<int>(std::clamp(leading_number(text).value_or(1), 1.0, 1e6)); }

constexpr std::string_view kDigits = "0123456789";

bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) || c == '_'; }

/// The run of characters that are in `allowed`, from `at` on.
std::string_view run_of(std::string_view text, std::size_t at, std::string_view allowed) {
  return text.substr(at, std::min(text.find_first_not_of(allowed, at), text.size()) - at);
}

/// What stands behind the first `key` that something of `allowed` follows: ("tp=4", "tp=", digits) is "4".
std::optional<std::string> value_after(std::string_view text, std::string_view key, std::string_view allowed) {
  for (auto at = text.find(key); at != std::string_view::npos; at = text.find(key, at + 1))
    if (const auto value = run_of(text, at + key.size(), allowed); !value.empty()) return std::string(value);
  return std::nullopt;
}

/// "0.11.0" of "vllm-openai:v0.11.0".
std::optional<std::string> release_in(std::string_view text) {
  for (auto at = text.find("v0."); at != std::string_view::npos; at = text.find("v0.", at + 1)) {
    const auto minor = run_of(text, at + 3, kDigits);
    if ((at > 0 && is_word(text[at - 1])) || minor.empty()) continue;
    const std::size_t end = at + 3 + minor.size();
    const auto patch = end < text.size() && text[end] == '.' ? run_of(text, end + 1, kDigits) : std::string_view();
    return std::string(text.substr(at + 1, end - at - 1 + (patch.empty() ? 0 : patch.size() + 1)));
  }
  return std::nullopt;
}

/// The first number that stands by itself behind `key`, before the next ';'.
std::optional<std::string> number_behind(std::string_view text, std::string_view key) {
  for (auto at = text.find(key); at != std::string_view::npos; at = text.find(key, at + 1))
    for (auto i = at + key.size(); i < text.size() && text[i] != ';'; ++i) {
      const auto digits = run_of(text, i, kDigits);
      const auto end = i + digits.size();
      if (!digits.empty() && !is_word(text[i - 1]) && (end == text.size() || !is_word(text[end])))
        return std::string(digits);
    }
  return std::nullopt;
}

std::string squeezed(const std::string& text) {
  std::string out;
  for (const char c : to_lower(text))
    if (std::isalnum(static_cast<unsigned char>(c))) out += c;
  return out;
}

std::optional<Gpu> gpu_of(const StartRow& s) {
  std::vector<std::string> names = {s.system, s.gpu.substr(0, s.gpu.find(" ("))};
  if (const auto at = s.system.find('_'); at != std::string::npos)
    names.push_back(s.system.substr(0, at) == "rtx" ? "RTX-" + s.system.substr(at + 1) : s.system.substr(0, at));
  std::optional<Gpu> gpu;
  for (const auto& name : names) {
    if (name.empty() || gpu) continue;
    for (const auto& row : gpu_catalogue())
      if (squeezed(row.name) == squeezed(name)) gpu = row;
    if (gpu) continue;
    try {
      gpu = find_gpu(name);
    } catch (const InputError&) {  // the next name may be known
    }
  }
  if (s.system == "a100" && s.gpu.find("40GB") != std::string::npos) gpu = find_gpu("A100-40G");
  if (const auto seen = leading_number(s.gpu_mem_gib)) {
    if (!gpu) {
      gpu = Gpu{};
      gpu->name = "unnamed";
      gpu->vendor = "nvidia", gpu->compute_capability = 80;
    }
    gpu->memory_total = gib(*seen);
  }
  return gpu;
}

/// "0.13.0+faa43dbf.nv26.01" and "0.20.2rc1.dev9+g01d4" are their release. What the row does not state is what its
/// remarks say ("vllm-openai:v0.11.0"), else the first release that knows the model, 0.11 at least.
VllmVersion version_of(const StartRow& s, const Model& model, std::vector<std::string>& assumed) {
  const bool build_without_release = s.vllm_version.starts_with("0.1.dev");
  if (!s.vllm_version.empty() && !build_without_release) try {
      return parse_vllm_version(s.vllm_version);
    } catch (const InputError&) {
    }
  VllmVersion version{0, 11, 0};
  if (s.engine == "V0") {
    version = {0, 6, 6};
  } else if (build_without_release) {
    version = kDefaultVllmVersion;
  } else if (const auto named = release_in(s.other_flags)) {
    version = parse_vllm_version(*named);
  } else if (!model.architectures.empty()) {
    // The first checked release that knows the model: people start new models with later ones than the very first.
    const auto* row = find_architecture(model.architectures.front());
    for (const auto& checked : checked_versions())
      if (row && checked.rules && row->registered(checked.version)) {
        if (checked.version > VllmVersion{0, 16, 0}) version = checked.version;
        break;
      }
  }
  assumed.push_back("vLLM " + to_string(version));
  return version;
}

/// The model as the launch makes it: another dtype, or linear layers quantised to fp8 while they are loaded.
Model as_launched(const Model& model, const StartRow& s) {
  const bool quantised = !model.quantisation.quant_method.empty();
  const bool online_fp8 = s.quantization == "fp8" && !quantised;
  const bool other_dtype = (s.dtype == "float32" || s.dtype == "float16" || s.dtype == "bfloat16") &&
                           s.dtype != to_string(model.dtype) && (!quantised || s.dtype == "float32");
  if (!online_fp8 && !other_dtype) return model;
  Model out = online_fp8 ? requantised(model, WeightFormat::fp8_tensor) : model;
  if (other_dtype) out = with_overrides(out, fmt::format(R"({{"dtype": null, "torch_dtype": "{}"}})", s.dtype));
  out.name = s.model;
  if (s.dtype == "float32") out.dtype = DType::float32;  // asked for; a float32 checkpoint alone is loaded as bfloat16
  return out;
}

/// Defaults by engine, GPU memory and version (EngineArgs.get_batch_defaults). The V0 engine schedules whole prompts
/// unless they are longer than 32k tokens. GB10 logs show the defaults of small GPUs in 0.13 and 0.25 already.
void batch_defaults(EngineConfig& e, const Gpu& gpu, const StartRow& s, const Model& model) {
  const bool v0 = s.engine == "V0" || e.vllm_version < VllmVersion{0, 8, 0};
  const bool a100 = gpu.compute_capability == 80;
  const bool large = to_gib(gpu.memory_total) >= 69 && !a100 && !generation_of(gpu).unified_memory && !v0;
  e.max_num_seqs = large ? 1024 : 256;
  e.max_num_batched_tokens = large ? 8192 : 2048;
  if (to_gib(gpu.memory_total) >= 150 && e.vllm_version >= VllmVersion{0, 28, 0}) e.max_num_batched_tokens = 16384;
  const std::int64_t length = e.max_model_len > 0 ? e.max_model_len : model.default_max_model_len;
  if (v0 && length <= 32768) e.max_num_batched_tokens = std::max<std::int64_t>(2048, length);
}

/// Speculation with the model's own MTP layers; other drafts are models of their own, which the row does not describe.
void read_speculation(EngineConfig& e, const StartRow& s, const Model& model, std::vector<std::string>& assumed) {
  const std::string flags = to_lower(s.other_flags);
  if (flags.find("spec") == std::string::npos && flags.find("draft") == std::string::npos &&
      flags.find("mtp") == std::string::npos)
    return;
  const bool mtp = flags.find("mtp") != std::string::npos && flags.find("assistant") == std::string::npos;
  if (!mtp || model.num_mtp_layers == 0) {
    assumed.push_back("the draft model is not counted");
    return;
  }
  auto tokens = value_after(flags, "num_speculative_tokens=", kDigits);
  if (!tokens) tokens = value_after(flags, "num_spec_tokens=", kDigits);
  const auto written = number_behind(flags, "mtp");
  e.num_speculative_tokens = count(tokens ? *tokens : written ? *written : "1");
}

void read_graph_sizes(EngineConfig& e, const StartRow& s) {
  if (const auto largest = value_after(s.other_flags, "max_cudagraph_capture_size=", kDigits)) {
    constexpr int kMost = 512;
    for (int size = 1; size <= std::min(count(*largest), kMost); size += size < 4     ? size
                                                                         : size < 256 ? 8 - size % 8
                                                                                      : 16)
      e.cudagraph_capture_sizes.push_back(size);
  } else if (const auto list = value_after(s.other_flags, "graph set [", "0123456789, ")) {
    for (const auto& size : split(*list, ',')) e.cudagraph_capture_sizes.push_back(count(std::string(trim(size))));
  }
}

std::optional<std::string> rejection(const EngineConfig& e, const StartRow& s, const Model& model) {
  const auto& p = e.parallel;
  if (model.num_hidden_layers() < p.pipeline_parallel_size)
    return fmt::format("{} layers over {} stages", model.num_hidden_layers(), p.pipeline_parallel_size);
  if (const auto length = leading_number(s.max_model_len);
      length && model.max_position_embeddings && *length > static_cast<double>(*model.max_position_embeddings))
    return fmt::format("max_model_len {} is above the model's {}", *length, *model.max_position_embeddings);
  const auto refused = check_layout(model_facts(model, e.vllm_version), p, e.vllm_version);
  return refused ? std::optional(refused->message) : std::nullopt;
}

}  // namespace

StartRow read_start_row(const CsvCells& row) {
  const auto cell = [&](const char* name) { return row.text(name); };
  return {cell("id"),
          cell("system"),
          cell("gpu"),
          cell("gpu_mem_gib"),
          cell("vllm_version"),
          cell("engine"),
          cell("model"),
          cell("tp"),
          cell("pp"),
          cell("dp"),
          cell("ep"),
          cell("dtype"),
          cell("quantization"),
          cell("kv_cache_dtype"),
          cell("gpu_memory_utilization"),
          cell("max_model_len"),
          cell("max_num_seqs"),
          cell("max_num_batched_tokens"),
          cell("enforce_eager"),
          cell("other_flags")};
}

StartLaunch read_launch(const StartRow& s, const Model& model) {
  StartLaunch out{as_launched(model, s), {}, gpu_of(s), {}, {}};
  const auto mentions = [&](std::string_view what) { return s.other_flags.find(what) != std::string::npos; };
  auto& e = out.engine;
  e.vllm_version = version_of(s, model, out.assumed);
  auto& p = e.parallel;
  p.tensor_parallel_size = count(s.tp);
  p.pipeline_parallel_size = count(s.pp);
  p.data_parallel_size = count(s.dp);
  p.enable_expert_parallel = s.ep == "on";
  if (const auto layers = value_after(s.other_flags, "VLLM_PP_LAYER_PARTITION=", "0123456789,")) {
    for (const auto& n : split(*layers, ',')) p.pp_layer_partition.push_back(count(n));
    if (static_cast<int>(p.pp_layer_partition.size()) != p.pipeline_parallel_size) p.pp_layer_partition.clear();
  }
  Gpu card;  // for weights alone, memory does not matter
  card.memory_total = gib(1e6);
  card.vendor = "nvidia", card.compute_capability = 80;
  if (out.gpu) card = *out.gpu;
  if (const auto length = leading_number(s.max_model_len)) e.max_model_len = static_cast<std::int64_t>(*length);
  batch_defaults(e, card, s, out.model);
  e.gpu_memory_utilization =
      leading_number(s.gpu_memory_utilization).value_or(default_gpu_memory_utilization(e.vllm_version));
  if (const auto n = leading_number(s.max_num_seqs)) e.max_num_seqs = static_cast<std::int64_t>(*n);
  if (const auto n = leading_number(s.max_num_batched_tokens))
    e.max_num_batched_tokens = static_cast<std::int64_t>(*n);
  else if (const auto scheduled = value_after(s.other_flags, "max_num_scheduled_tokens=", kDigits))
    e.max_num_batched_tokens = count(*scheduled);
  if (!s.kv_cache_dtype.empty()) e.kv_cache_dtype = s.kv_cache_dtype == "bf16" ? "bfloat16" : s.kv_cache_dtype;
  e.enforce_eager = s.enforce_eager == "True";
  read_graph_sizes(e, s);
  read_speculation(e, s, out.model, out.assumed);
  if (mentions("runner=pooling") || mentions("embedding model")) {
    e.max_num_seqs = 0;  // no sampler, and no head
    out.model = with_overrides(out.model, R"({"tie_word_embeddings": true})");
  }
  e.language_model_only = mentions("language_model_only") || mentions("limit_mm_per_prompt={'image': 0");
  if (e.vllm_version < VllmVersion{0, 26, 0} && mentions("enable_prefix_caching=False"))
    e.enable_prefix_caching = false;
  out.rejected = rejection(e, s, out.model);
  return out;
}

}  // namespace shardwise
