#include "app/verify_startup.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <fstream>
#include <map>
#include <optional>
#include <set>

#include "app/verify.h"
#include "base/input_error.h"
#include "base/text.h"
#include "config/csv.h"
#include "config/json.h"
#include "config/text_source.h"
#include "hardware/hardware.h"
#include "memory/memory_plan.h"
#include "memory/startup.h"
#include "model/load.h"

namespace shardwise {

namespace {

/// The launch columns. Whatever a log measured is left out here, so that no prediction can read it.
struct Start {
  std::string id, system, gpu, gpu_mem_gib, vllm_version, engine, model, tp, pp, dp, ep, dtype, quantization,
      kv_cache_dtype, utilization, max_model_len, max_num_seqs, max_num_batched_tokens, enforce_eager, other_flags;
};

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::optional<double> number(const std::string& text) {
  if (text.empty() || !(std::isdigit(static_cast<unsigned char>(text[0])) || text[0] == '-')) return std::nullopt;
  try {
    return std::stod(text);
  } catch (const std::exception&) {
    return std::nullopt;
  }
}

int count(const std::string& text) { return static_cast<int>(number(text).value_or(1)); }

/// "0.13.0+faa43dbf.nv26.01" and "0.20.2rc1.dev9+g01d4" are their release; what names none is taken as 0.11.0.
VllmVersion version_of(const std::string& text) {
  constexpr VllmVersion kUnstated{0, 11, 0};
  if (text.empty() || text.starts_with("0.1.dev")) return text.empty() ? kUnstated : kDefaultVllmVersion;
  try {
    return parse_vllm_version(text);
  } catch (const InputError&) {
    return kUnstated;
  }
}

/// Spellings under which the bundle may know a model that a log names.
std::vector<std::string> spellings(const std::string& model) {
  std::vector<std::string> out = {model};
  if (const auto note = model.find(" ("); note != std::string::npos) out.push_back(model.substr(0, note));
  const std::string bare = out.back();
  if (const auto slash = bare.rfind('/'); slash != std::string::npos) out.push_back(bare.substr(slash + 1));
  const std::string last = out.back();
  for (const char* owner : {"Qwen/", "meta-llama/", "openai/", "deepseek-ai/", "nvidia/", "google/", "mistralai/"})
    out.push_back(owner + last);
  out.push_back(lower(last));
  return out;
}

std::optional<Gpu> gpu_of(const Start& s) {
  std::optional<Gpu> gpu;
  std::string system = s.system;
  std::vector<std::string> names = {s.system, s.gpu.substr(0, s.gpu.find(" ("))};
  if (const auto at = system.find('_'); at != std::string::npos)
    names.push_back(system.substr(0, at) == "rtx" ? "RTX-" + system.substr(at + 1) : system.substr(0, at));
  for (auto& name : names) {
    for (const auto& row : gpu_catalogue()) {
      const auto squeeze = [](const std::string& t) {
        std::string out;
        for (const char c : t)
          if (std::isalnum(static_cast<unsigned char>(c)))
            out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
        return out;
      };
      if (!name.empty() && squeeze(row.name) == squeeze(name)) gpu = row;
    }
    if (gpu) break;
    try {
      if (!name.empty()) gpu = find_gpu(name);
    } catch (const InputError&) {
    }
    if (gpu) break;
  }
  if (s.gpu.find("40GB") != std::string::npos && s.system == "a100") gpu = find_gpu("A100-40G");
  if (const auto gib_seen = number(s.gpu_mem_gib)) {
    if (!gpu) {
      gpu = Gpu{};
      gpu->name = "unnamed";
      gpu->compute_capability = 80;
    }
    gpu->memory_total = gib(*gib_seen);
  }
  return gpu;
}

/// Serving defaults by GPU memory and version (EngineArgs.get_batch_defaults): Hopper and larger take more.
void batch_defaults(EngineConfig& e, const Gpu& gpu) {
  const bool large = to_gib(gpu.memory_total) >= 69 && gpu.compute_capability != 80;
  const bool v1 = e.vllm_version >= VllmVersion{0, 8, 0};
  e.max_num_seqs = large && v1 ? 1024 : 256;
  e.max_num_batched_tokens = large && v1 ? 8192 : 2048;
  if (to_gib(gpu.memory_total) >= 150 && e.vllm_version >= VllmVersion{0, 28, 0}) e.max_num_batched_tokens = 16384;
}

struct Answer {
  std::string outcome, why;
  std::optional<MemoryPlan> plan;
  StartupFeatures features;
  double total_gib = 0, utilization = 0, graph_gib = 0;
  int graphs = 0;
  std::string outside;  ///< which non-torch coefficient applies
  std::string logits;   ///< and which one the sampler
  std::string version;
};

bool mentions(const Start& s, std::string_view what) { return s.other_flags.find(what) != std::string::npos; }

/// The model as the launch makes it: another dtype, or linear layers quantised to fp8 while they are loaded.
Model as_launched(const Model& model, const Start& s) {
  const bool online_fp8 = s.quantization == "fp8" && model.quantisation.quant_method.empty();
  const bool other_dtype = (s.dtype == "float32" || s.dtype == "float16" || s.dtype == "bfloat16") &&
                           s.dtype != to_string(model.dtype) &&
                           (model.quantisation.quant_method.empty() || s.dtype == "float32");
  if (!model.config || (!online_fp8 && !other_dtype)) return model;
  Json config = *model.config;
  const auto set_dtype = [&](Json& part) {
    part.erase("dtype");
    part["torch_dtype"] = s.dtype;
  };
  if (other_dtype) {
    set_dtype(config);
    if (const auto text = config.find("text_config"); text != config.end() && text->is_object()) set_dtype(*text);
  }
  if (online_fp8) config["quantization_config"] = {{"quant_method", "fp8"}, {"activation_scheme", "dynamic"}};
  Model out = read_hf_config(config.dump(), "", s.model);
  if (s.dtype == "float32") out.dtype = DType::float32;  // asked for; a float32 checkpoint alone is loaded as bfloat16
  return out;
}

Answer answer(const Start& s, const std::shared_ptr<const Model>& found) {
  Answer out;
  const Model model = as_launched(*found, s);
  EngineConfig e;
  e.vllm_version = version_of(s.vllm_version);
  auto& p = e.parallel;
  p.tensor_parallel_size = count(s.tp);
  p.pipeline_parallel_size = count(s.pp);
  p.data_parallel_size = count(s.dp);
  p.enable_expert_parallel = s.ep == "on";
  const auto gpu = gpu_of(s);
  if (const int heads = model.num_attention_heads(); heads > 0 && heads % p.tensor_parallel_size != 0) {
    out.outcome = "rejected_config";
    out.why = fmt::format("{} attention heads over {} ranks", heads, p.tensor_parallel_size);
    return out;
  }
  if (model.num_hidden_layers() < p.pipeline_parallel_size) {
    out.outcome = "rejected_config";
    return out;
  }
  const auto asked = number(s.max_model_len);
  if (asked && model.max_position_embeddings > 0 && *asked > static_cast<double>(model.max_position_embeddings)) {
    out.outcome = "rejected_config";
    out.why = fmt::format("max_model_len {} is above the model's {}", *asked, model.max_position_embeddings);
    return out;
  }
  Gpu card = gpu.value_or(Gpu{});
  if (gpu)
    batch_defaults(e, card);
  else
    e.max_num_seqs = 256, e.max_num_batched_tokens = 2048, card.memory_total = gib(1e6), card.compute_capability = 80;
  e.gpu_memory_utilization = number(s.utilization).value_or(default_gpu_memory_utilization(e.vllm_version));
  if (asked) e.max_model_len = static_cast<std::int64_t>(*asked);
  if (const auto n = number(s.max_num_seqs)) e.max_num_seqs = static_cast<std::int64_t>(*n);
  if (const auto n = number(s.max_num_batched_tokens)) e.max_num_batched_tokens = static_cast<std::int64_t>(*n);
  if (!s.kv_cache_dtype.empty()) e.kv_cache_dtype = s.kv_cache_dtype == "bf16" ? "bfloat16" : s.kv_cache_dtype;
  e.enforce_eager = s.enforce_eager == "True";
  if (const auto at = s.other_flags.find("max_cudagraph_capture_size="); at != std::string::npos) {
    const auto largest =
        number(s.other_flags.substr(at + std::string("max_cudagraph_capture_size=").size())).value_or(0);
    for (int size = 1; size <= std::min(largest, 512.0); size += size < 4 ? size : size < 256 ? 8 - size % 8 : 16)
      e.cudagraph_capture_sizes.push_back(size);
  }
  if (mentions(s, "runner=pooling")) e.max_num_seqs = 0;  // no sampler
  e.language_model_only = mentions(s, "language_model_only") || mentions(s, "limit_mm_per_prompt={'image': 0");
  if (e.vllm_version < VllmVersion{0, 26, 0} && mentions(s, "enable_prefix_caching=False"))
    e.enable_prefix_caching = false;
  const auto plan = plan_memory(model, e, card);
  const auto& binding = plan.stages[static_cast<std::size_t>(plan.binding_stage)];
  out.features = startup_features(model, e, binding.first_layer, binding.last_layer,
                                  binding.last_layer == model.num_hidden_layers());
  out.graphs = out.features.graphs >= 0
                   ? out.features.graphs
                   : default_graph_count(e.max_num_seqs, 0, e.vllm_version, card.compute_capability);
  out.graph_gib = to_gib(startup_terms(out.features, e, card).cuda_graph);
  out.utilization = e.gpu_memory_utilization;
  out.outside = non_torch_term(e, card);
  out.logits = logits_term(e, card);
  out.version = to_string(e.vllm_version);
  out.plan = plan;
  if (!gpu) {
    out.why = "GPU not named";
    return out;
  }
  out.total_gib = to_gib(card.memory_total);
  out.outcome = !plan.refusal                                                   ? "ok"
                : plan.refusal->kind == MemoryRefusal::Kind::weights_do_not_fit ? "oom_load"
                                                                                : "kv_too_small";
  return out;
}

std::string quoted(std::string text) {
  std::replace(text.begin(), text.end(), '"', '\'');
  return '"' + text + '"';
}

}  // namespace

StartupVerification run_verify_startup(const std::string& file, const std::string& models_dir,
                                       const std::string& predictions) {
  const CsvTable csv = parse_csv(read_file(file), file);
  const auto cell = [&](const CsvRow& row, std::string_view name) { return row.cells[csv.column(name, file)]; };
  VerifyModels models(models_dir);
  std::string out =
      "id,outcome,weights_gib_per_gpu,available_kv_gib_per_gpu,kv_cache_tokens,max_concurrency,"
      "activation_peak_gib,non_torch_gib,cuda_graph_gib,kv_gib_lo,kv_gib_hi,probability_fits,total_gib,utilization,"
      "f_logits,f_hidden,f_mlp,f_moe,f_hyper,f_mla,f_vision,f_layers,f_graphs,f_outside,f_logits_term,f_version,note\n";
  std::map<std::string, std::string> unknown_models;
  std::set<std::string> unnamed_gpus;
  int answered = 0;
  for (const auto& row : csv.rows) {
    const Start s{cell(row, "id"),
                  cell(row, "system"),
                  cell(row, "gpu"),
                  cell(row, "gpu_mem_gib"),
                  cell(row, "vllm_version"),
                  cell(row, "engine"),
                  cell(row, "model"),
                  cell(row, "tp"),
                  cell(row, "pp"),
                  cell(row, "dp"),
                  cell(row, "ep"),
                  cell(row, "dtype"),
                  cell(row, "quantization"),
                  cell(row, "kv_cache_dtype"),
                  cell(row, "gpu_memory_utilization"),
                  cell(row, "max_model_len"),
                  cell(row, "max_num_seqs"),
                  cell(row, "max_num_batched_tokens"),
                  cell(row, "enforce_eager"),
                  cell(row, "other_flags")};
    std::shared_ptr<const Model> model;
    std::string problem;
    for (const auto& name : spellings(s.model)) {
      try {
        model = models.get(name);
        break;
      } catch (const InputError& e) {
        if (problem.empty()) problem = e.what();
      }
    }
    if (!model) {
      unknown_models.emplace(s.model, problem);
      out += fmt::format("{},,,,,,,,,,,,,,,,,,,,,,,,,,{}\n", s.id, quoted("unknown model " + s.model));
      continue;
    }
    const auto a = answer(s, model);
    ++answered;
    if (!a.plan) {
      out += fmt::format("{},{},,,,,,,,,,,,,,,,,,,,,,,,,{}\n", s.id, a.outcome, quoted(a.why));
      continue;
    }
    const auto& plan = *a.plan;
    const auto& stage = plan.stages[static_cast<std::size_t>(plan.binding_stage)];
    const auto& f = a.features;
    const std::string features =
        fmt::format("{:.6f},{:.6f},{:.6f},{:.6f},{:.6f},{},{},{},{},{},{},{}", f.logits, f.hidden, f.mlp, f.moe,
                    f.hyper, f.mla, f.vision, f.layers, a.graphs, a.outside, a.logits, a.version);
    if (a.total_gib == 0) {
      unnamed_gpus.insert(s.id);
      out += fmt::format("{},{},{:.4f},,,,{:.3f},,{:.3f},,,,,,{},{}\n", s.id, a.outcome, to_gib(stage.weights.total()),
                         to_gib(stage.activation), a.graph_gib, features, quoted(a.why));
      continue;
    }
    out += fmt::format("{},{},{:.4f},{:.4f},{},{:.4f},{:.3f},{:.3f},{:.3f},{:.4f},{:.4f},{:.4f},{:.3f},{},{},{}\n",
                       s.id, a.outcome, to_gib(stage.weights.total()), to_gib(stage.kv_cache), plan.kv_tokens,
                       plan.max_concurrency, to_gib(stage.activation), to_gib(stage.non_torch), a.graph_gib,
                       plan.kv_gib.lo, plan.kv_gib.hi, plan.probability_fits, a.total_gib, a.utilization, features,
                       quoted(plan.refusal ? plan.refusal->message : ""));
  }
  if (!predictions.empty()) {
    std::ofstream to(predictions);
    if (!to) throw InputError(predictions, 0, "", "cannot be written");
    to << out;
  }
  StartupVerification result;
  result.text = fmt::format("{} rows, {} answered\n", csv.rows.size(), answered);
  for (const auto& [name, why] : unknown_models) result.text += fmt::format("  unknown model: {} ({})\n", name, why);
  if (!unnamed_gpus.empty())
    result.text += fmt::format("  weights only, the GPU is not named: {}\n", fmt::join(unnamed_gpus, " "));
  result.exit_code = unknown_models.empty() ? 0 : 3;
  return result;
}

}  // namespace shardwise
