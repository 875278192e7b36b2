#include "memory/startup.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <map>
#include <set>
#include <string>

#include "base/embedded.h"
#include "base/input_error.h"
#include "base/version.h"
#include "config/csv.h"
#include "memory/lora.h"

namespace shardwise {

namespace {

struct Coefficient {
  VllmVersion from;
  double value;
};
using Table = std::map<std::string, std::vector<Coefficient>, std::less<>>;

const Table& table() {
  static const Table built = [] {
    const CsvTable csv = embedded_csv("calibration/startup.csv");
    Table out;
    for (const auto& row : csv.rows) {
      const CsvCells cells(csv, row);
      out[cells.text("name")].push_back({parse_vllm_version(cells.text("from_version")), cells.required("value")});
    }
    return out;
  }();
  return built;
}

double coefficient_at(std::string_view name, VllmVersion version) {
  const auto it = table().find(name);
  assert(it != table().end());
  double value = it->second.front().value;
  for (const auto& row : it->second)
    if (version >= row.from) value = row.value;
  return value;
}

/// The coefficients of all versions from one on.
struct Coefficients {
  VllmVersion from;
  double logits, logits_small, hidden, mlp, moe, fixed, vision, encoder, mxfp4, graph_fixed, graph_layer, hyper,
      graph_mla, sigma_relative, sigma_fixed;
};

Coefficients coefficients_from(VllmVersion version) {
  const auto get = [&](std::string_view name) { return coefficient_at(name, version); };
  return {version,
          get("logits_bytes"),
          get("logits_bytes_small_gpu"),
          get("hidden_copies"),
          get("mlp_copies"),
          get("moe_workspace"),
          get("activation_fixed"),
          get("activation_vision"),
          get("encoder_copies"),
          get("mxfp4_kernels"),
          get("graph_fixed"),
          get("graph_layer_size"),
          get("hyper_copies"),
          get("graph_mla"),
          get("sigma_relative"),
          get("sigma_fixed")};
}

const Coefficients& coefficients(VllmVersion version) {
  static const std::vector<Coefficients> all = [] {
    std::set<VllmVersion> changes = {VllmVersion{0, 0, 0}};
    for (const auto& [name, rows] : table())
      for (const auto& row : rows) changes.insert(row.from);
    std::vector<Coefficients> out;
    for (const auto& from : changes) out.push_back(coefficients_from(from));
    return out;
  }();
  const auto after = std::upper_bound(all.begin() + 1, all.end(), version,
                                      [](VllmVersion v, const Coefficients& c) { return v < c.from; });
  return *std::prev(after);
}

constexpr double kGiB = 1073741824.0;

}  // namespace

double startup_coefficient(std::string_view name, VllmVersion version) { return coefficient_at(name, version); }

double default_gpu_memory_utilization(VllmVersion version) { return version < VllmVersion{0, 20, 0} ? 0.90 : 0.92; }

int default_graph_count(std::int64_t max_num_seqs, int num_speculative_tokens, VllmVersion version,
                        const GpuGeneration& generation) {
  const std::int64_t ceiling = version >= VllmVersion{0, 28, 0} ? generation.max_cudagraph_capture_size : 512;
  const std::int64_t largest = std::min(ceiling, 2 * max_num_seqs * (1 + num_speculative_tokens));
  int count = 0;
  for (const std::int64_t size : {1, 2, 4}) count += size <= largest;
  for (std::int64_t size = 8; size < 256 && size <= largest; size += 8) ++count;
  for (std::int64_t size = 256; size <= largest; size += 16) ++count;
  return count;
}

namespace {

/// Images of Qwen's towers are as large as they come: the processors of Qwen2-VL to Qwen3.5 allow 16,384 tokens, and
/// the profile run encodes one of them. Other towers scale images to a fixed size.
bool image_size_is_free(const Model& model) {
  return model.model_type.find("qwen") != std::string::npos && model.vision->spatial_merge_size > 1;
}

/// Tokens of the largest image: of those processors, or of what mm_processor_kwargs allows.
double image_tokens(const VisionTower& tower, const EngineConfig& engine) {
  constexpr double kImageTokens = 16384;
  const double side = static_cast<double>(tower.patch_size) * tower.spatial_merge_size;
  return engine.max_image_pixels
             ? std::max(1.0, std::floor(static_cast<double>(*engine.max_image_pixels) / (side * side)))
             : kImageTokens;
}

}  // namespace

StartupFeatures startup_features(const Model& model, const EngineConfig& engine, const Gpu& gpu, int first_layer,
                                 int last_layer) {
  StartupFeatures f;
  const double element = model.dtype == DType::float32 ? 4 : 2;
  const auto tokens = static_cast<double>(engine.max_num_batched_tokens);
  const double tp = engine.parallel.tensor_parallel_size;
  const bool ep = engine.parallel.enable_expert_parallel;
  f.hidden = tokens * model.hidden_size * element / kGiB;
  for (int l = first_layer; l < last_layer; ++l)
    if (const auto* mla = std::get_if<MlaAttention>(&model.layers[static_cast<std::size_t>(l)].attention)) {
      constexpr int kStreams = 4;  // hc_mult
      f.mla = 1;
      if (mla->compress_ratio) f.hyper = tokens * kStreams * model.hidden_size * 4 / kGiB;
      break;
    }
  const Ffn* last = nullptr;
  for (int l = first_layer; l < last_layer; ++l) {
    const auto& ffn = model.layers[static_cast<std::size_t>(l)].ffn;
    if (last && ffn.index() == last->index()) continue;  // layers of one kind are alike in width
    last = &ffn;
    if (const auto* dense = std::get_if<DenseFfn>(&ffn)) {
      f.mlp = std::max(f.mlp, tokens * (dense->gated ? 3.0 : 2.0) * dense->intermediate_size / tp * element / kGiB);
    } else if (const auto* moe = std::get_if<MoeFfn>(&ffn)) {
      const double width = moe->moe_intermediate_size / (ep ? 1.0 : tp),
                   hidden = moe->latent_size.value_or(model.hidden_size);
      const double rows = std::max((moe->gated ? 2.0 : 1.0) * width, hidden) + std::max(width, hidden);
      f.moe = std::max(f.moe, tokens * moe->num_experts_per_tok * rows * 2 / kGiB);
      f.mlp = std::max(f.mlp, tokens * 3.0 * moe->shared_intermediate_size / tp * element / kGiB);
    }
  }
  if (last_layer == model.num_hidden_layers())
    f.logits =
        static_cast<double>(std::min(engine.max_num_seqs, engine.max_num_batched_tokens)) * model.vocab_size * 1e-9;
  if (model.vision && !engine.language_model_only) {
    const auto& tower = *model.vision;
    f.vision = 1;
    if (image_size_is_free(model)) {
      const double image = image_tokens(tower, engine);
      const double patches =
          image * std::max(1.0, std::floor(tokens / image)) * tower.spatial_merge_size * tower.spatial_merge_size;
      f.encoder = patches * (3.0 / tp + 1.0) * tower.hidden_size * 2 / kGiB;
    }
  }
  f.mxfp4 =
      generation_of(gpu).triton_mxfp4_moe && model.quantisation.routed_experts.method == QuantScheme::Method::mxfp4;
  f.layers = last_layer - first_layer;
  if (!engine.enforce_eager && engine.cudagraph_mode != CudagraphMode::none)
    f.graphs = engine.cudagraph_capture_sizes.empty()
                   ? default_graph_count(engine.max_num_seqs, engine.num_speculative_tokens, engine.vllm_version,
                                         generation_of(gpu))
                   : static_cast<int>(engine.cudagraph_capture_sizes.size());
  if (engine.lora) f.graphs *= lora_graph_cases(*engine.lora);
  return f;
}

std::string_view logits_term(const EngineConfig& engine, const Gpu& gpu) {
  return engine.vllm_version >= VllmVersion{0, 17, 0} || generation_of(gpu).lean_sampler ? "logits_bytes"
                                                                                         : "logits_bytes_small_gpu";
}

std::string_view non_torch_term(const EngineConfig& engine, const Gpu& gpu) {
  const auto& p = engine.parallel;
  const auto& generation = generation_of(gpu);
  if (generation.unified_memory) return "non_torch_unified";
  const int ranks =
      p.tensor_parallel_size * p.prefill_context_parallel_size * (p.enable_expert_parallel ? p.data_parallel_size : 1);
  if (ranks > 1 && gpu.scale_up_domain() < 8) return "non_torch_pcie";
  if (ranks > 2 && generation.nvlink_sharp) return "non_torch_switch_wide";
  if (ranks > 1) return "non_torch_switch";
  return p.pipeline_parallel_size > 1 ? "non_torch_pipeline" : "non_torch_single";
}

Bytes taken_at_start(const EngineConfig& engine, const Gpu& gpu) {
  const auto& p = engine.parallel;
  const int ranks = p.world_size() * (p.enable_expert_parallel ? p.data_parallel_size : 1);
  const bool communicators = ranks > 1 && gpu.scale_up_domain() >= 8 && generation_of(gpu).nvlink_sharp;
  return gib(startup_coefficient(communicators ? "start_switch" : "start_single", engine.vllm_version));
}

StartupTerms startup_terms(const StartupFeatures& f, const EngineConfig& engine, const Gpu& gpu) {
  const auto& c = coefficients(engine.vllm_version);
  const double per_logit = logits_term(engine, gpu) == "logits_bytes" ? c.logits : c.logits_small;
  const double sampling = f.logits * 1e9 * per_logit / kGiB + c.vision * f.vision;
  const double body = c.hidden * f.hidden + c.moe * f.moe + c.hyper * f.hyper + std::max(sampling, c.mlp * f.mlp);
  StartupTerms out;
  out.activation = gib(c.fixed + c.mxfp4 * f.mxfp4 + std::max(body, c.encoder * f.encoder));
  out.non_torch = gib(startup_coefficient(non_torch_term(engine, gpu), engine.vllm_version));
  out.cuda_graph =
      f.graphs > 0 ? gib(c.graph_fixed + c.graph_mla * f.mla + c.graph_layer * f.layers * f.graphs) : Bytes(0);
  out.cuda_graph_reserved = engine.vllm_version >= VllmVersion{0, 20, 0} ? out.cuda_graph : Bytes(0);
  return out;
}

double kv_sigma_gib(double kv_gib, const EngineConfig& engine) {
  const auto& c = coefficients(engine.vllm_version);
  return c.sigma_fixed + c.sigma_relative * std::max(0.0, kv_gib);
}

}  // namespace shardwise
