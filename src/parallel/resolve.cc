#include "parallel/resolve.h"

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "base/text.h"
#include "hardware/hardware.h"
#include "parallel/python_text.h"
#include "parallel/rule_rows.h"

namespace shardwise {
namespace {

/// The checks of the target that are repeated for the draft, if any.
bool applies(Phase phase, const ResolveState& s) {
  if (phase == Phase::ngram_draft) return s.spec_method == "ngram" || s.spec_method == "ngram_gpu";
  return phase != Phase::mtp_draft || s.spec_method == "mtp";
}

/// What the rules that follow can compute with. Sizes have declared ranges from 0.23 on; before, vLLM divides by them.
void expect_computable(const EngineArgs& args, VllmVersion version) {
  expect_plausible(args, true);
  const auto size = [](const std::optional<std::int64_t>& given) {
    return given == 0 ? given : std::optional<std::int64_t>();
  };
  EngineArgs divisors;
  divisors.tensor_parallel_size = size(args.tensor_parallel_size);
  divisors.decode_context_parallel_size = size(args.decode_context_parallel_size);
  if (version < VllmVersion{0, 23, 0}) expect_plausible(divisors);
}

Phase next(Phase phase) { return Phase{static_cast<int>(phase) + 1}; }

ExpertPlacement asked_placement(const Resolved& r) {
  return r.expert_placement_strategy == "round_robin" ? ExpertPlacement::round_robin : ExpertPlacement::linear;
}

/// What Resolved and ParallelConfig name alike. `of` must outlive the view.
template <class Sizes>
void take_sizes(LayoutView& l, const Sizes& of) {
  l.tp = of.tensor_parallel_size, l.pp = of.pipeline_parallel_size, l.pcp = of.prefill_context_parallel_size;
  l.dcp = of.decode_context_parallel_size, l.dp = of.data_parallel_size;
  l.ep = of.enable_expert_parallel, l.eplb = of.enable_eplb, l.redundant_experts = of.num_redundant_experts;
  l.all2all = of.all2all_backend;
}

LayoutView layout_view(const ResolveState& s, Phase phase) {
  const auto& r = s.r;
  LayoutView l{s.m, s.v};
  take_sizes(l, r);
  l.placement = asked_placement(r);
  if (r.quantization) l.quantization = *r.quantization;
  l.dtype = r.dtype;
  l.trust_remote_code = s.a.trust_remote_code.value_or(false);
  const bool draft = phase == Phase::ngram_draft || phase == Phase::mtp_draft;
  l.supports_pp = draft ? s.draft_supports_pp : s.m.supports_pp;
  return l;
}

LayoutView layout_view(const ModelFacts& model, const ParallelConfig& p, std::string_view quantization,
                       VllmVersion version, const NodeFacts* node) {
  LayoutView l{model, version};
  take_sizes(l, p);
  l.placement = p.expert_placement_strategy;
  l.quantization = quantization;
  l.dtype = "bfloat16";
  l.supports_pp = model.supports_pp;
  l.pp_layer_partition = p.pp_layer_partition;
  l.node = node;
  l.cache_dtype = model.kv_cache_dtype;
  return l;
}

void read_pp_partition(ResolveState& s) {
  auto& r = s.r;
  ParallelConfig p;
  p.pipeline_parallel_size = static_cast<int>(std::max<std::int64_t>(r.pipeline_parallel_size, 1));
  if (const auto it = s.env.find("VLLM_PP_LAYER_PARTITION"); it != s.env.end()) {
    std::int64_t sum = 0;
    for (const auto& word : split(it->second, ',')) {
      const auto layers = python_int(word);
      if (!layers || std::abs(*layers) > std::numeric_limits<int>::max()) {
        r.pp_layers_error = "ValueError: Invalid partition string: " + it->second;
        return;
      }
      p.pp_layer_partition.push_back(static_cast<int>(*layers));
      sum += *layers;
    }
    if (static_cast<std::int64_t>(p.pp_layer_partition.size()) != r.pipeline_parallel_size) {
      r.pp_layers_error = "ValueError: len(partitions)=" + std::to_string(p.pp_layer_partition.size()) +
                          " does not match pp_size=" + std::to_string(r.pipeline_parallel_size) + ".";
      return;
    }
    if (sum != r.num_hidden_layers) {
      r.pp_layers_error = "ValueError: sum(partitions)=" + std::to_string(sum) +
                          " does not match num_hidden_layers=" + std::to_string(r.num_hidden_layers) + ".";
      return;
    }
    r.pp_layer_partition = p.pp_layer_partition;
  }
  r.pp_layers = pp_layers(static_cast<int>(r.num_hidden_layers), p);
}

/// The resolved sizes, as everything below vLLM's rules takes them.
ParallelConfig parallel_config(const Resolved& r) {
  ParallelConfig p;
  p.tensor_parallel_size = static_cast<int>(r.tensor_parallel_size);
  p.pipeline_parallel_size = static_cast<int>(r.pipeline_parallel_size);
  p.prefill_context_parallel_size = static_cast<int>(r.prefill_context_parallel_size);
  p.decode_context_parallel_size = static_cast<int>(r.decode_context_parallel_size);
  p.data_parallel_size = static_cast<int>(r.data_parallel_size);
  p.enable_expert_parallel = r.enable_expert_parallel;
  p.expert_placement_strategy = asked_placement(r);
  p.enable_eplb = r.enable_eplb;
  p.num_redundant_experts = static_cast<int>(r.num_redundant_experts);
  p.all2all_backend = r.all2all_backend;
  p.pp_layer_partition = r.pp_layer_partition;
  return p;
}

void derive(Phase phase, ResolveState& state) {
  if (phase <= Phase::parallel)
    derive_config(phase, state);
  else
    derive_execution(phase, state);
}

}  // namespace

ParallelConfig LayoutView::parallel() const {
  ParallelConfig p;
  p.tensor_parallel_size = static_cast<int>(tp);
  p.prefill_context_parallel_size = static_cast<int>(pcp);
  p.data_parallel_size = static_cast<int>(dp);
  p.enable_expert_parallel = ep;
  p.enable_eplb = eplb;
  p.num_redundant_experts = static_cast<int>(redundant_experts);
  p.all2all_backend = all2all;
  p.expert_placement_strategy = placement;
  return p;
}

Resolution resolve(const EngineArgs& args, const ModelFacts& model, const NodeFacts& node, const Environment& env,
                   VllmVersion version, EntryMode mode) {
  ResolveState s(args, model, node, env, mode, version);
  for (auto phase = Phase::arguments; phase <= Phase::worker; phase = next(phase)) {
    if (!applies(phase, s)) continue;
    derive(phase, s);
    if (auto refusal = first_violation(phase, layout_view(s, phase), &s)) return std::move(*refusal);
    if (phase == Phase::arguments) expect_computable(args, version);
  }
  expect_plausible(args);
  read_pp_partition(s);
  s.r.effective_placement = effective_placement(parallel_config(s.r), model.num_expert_group, version);
  return std::move(s.r);
}

std::optional<Refusal> check_model(const ModelFacts& model, VllmVersion version, bool trust_remote_code) {
  LayoutView view{model, version};
  view.trust_remote_code = trust_remote_code;
  return first_violation(Phase::config_json, view, nullptr);
}

std::optional<Refusal> check_layout(const ModelFacts& model, const ParallelConfig& parallel, VllmVersion version,
                                    const NodeFacts* node) {
  const auto view = layout_view(model, parallel, model.quantization, version, node);
  if (auto refusal = first_violation(Phase::layout, view, nullptr)) return refusal;
  return first_violation(Phase::construction, view, nullptr);
}

std::optional<Refusal> check_construction(const ModelFacts& model, const ParallelConfig& parallel,
                                          std::string_view quantization, VllmVersion version,
                                          std::optional<int> stage) {
  auto view = layout_view(model, parallel, quantization, version, nullptr);
  view.stage = stage;
  return first_violation(Phase::construction, view, nullptr);
}

ModelFacts model_facts(const Model& model, const EngineArgs& args, VllmVersion version) {
  auto facts = model_facts(model, version);
  if (args.language_model_only.value_or(false) || args.mm_encoder_tp_mode.value_or("") == "data")
    facts.construction.vision_heads = 0;
  if (args.kv_cache_dtype && *args.kv_cache_dtype != "auto") facts.kv_cache_dtype = *args.kv_cache_dtype;
  return facts;
}

EngineConfig engine_config(const Resolved& r) {
  EngineConfig e;
  e.vllm_version = r.version;
  e.parallel = parallel_config(r);
  e.effective_placement = r.effective_placement;
  e.max_model_len = r.max_model_len;
  e.auto_fit_max_model_len = r.auto_fit_max_model_len;
  e.max_num_batched_tokens = r.max_num_batched_tokens;
  e.max_num_seqs = r.max_num_seqs;
  if (r.block_size_given) e.block_size = static_cast<int>(r.block_size);
  e.kv_cache_dtype = r.cache_dtype;
  e.gpu_memory_utilization = r.gpu_memory_utilization;
  if (r.kv_cache_memory_bytes != 0) e.kv_cache_memory_bytes = r.kv_cache_memory_bytes;  // 0 is no size to the worker
  e.enforce_eager = r.enforce_eager;
  e.cudagraph_mode = r.cudagraph_mode == "NONE"               ? CudagraphMode::none
                     : r.cudagraph_mode == "PIECEWISE"        ? CudagraphMode::piecewise
                     : r.cudagraph_mode == "FULL"             ? CudagraphMode::full
                     : r.cudagraph_mode == "FULL_DECODE_ONLY" ? CudagraphMode::full_decode_only
                                                              : CudagraphMode::full_and_piecewise;
  if (e.cudagraph_mode != CudagraphMode::none) e.cudagraph_capture_sizes = r.cudagraph_capture_sizes;
  e.enable_chunked_prefill = r.enable_chunked_prefill;
  e.enable_prefix_caching = r.enable_prefix_caching;
  e.async_scheduling = r.async_scheduling;
  e.num_speculative_tokens = static_cast<int>(r.num_speculative_tokens);
  e.speculative_method = r.speculative_method.value_or("");
  e.language_model_only = r.language_model_only;
  e.offload = r.offload;
  e.lora = r.lora;
  e.max_image_pixels = r.max_image_pixels;
  return e;
}

const char* placement_fallback(const ParallelConfig& p, std::optional<int> num_expert_group, VllmVersion version) {
  if (p.expert_placement_strategy == ExpertPlacement::linear) return nullptr;
  if (p.expert_parallel_size() <= 1) return "experts are not spread over ranks";
  if (!num_expert_group || *num_expert_group <= 1) return "the model's experts are not grouped";
  if (p.enable_eplb) return "EPLB is on";
  if (p.num_redundant_experts > 0) return "there are redundant experts";
  const bool all2all = p.data_parallel_size > 1 || p.prefill_context_parallel_size > 1;
  const bool tables =
      p.all2all_backend == "deepep_low_latency" || (p.all2all_backend == "nixl_ep" && version >= VllmVersion{0, 18, 1});
  return all2all && !tables ? "this all2all backend has no routing tables" : nullptr;
}

ExpertPlacement effective_placement(const ParallelConfig& p, std::optional<int> num_expert_group, VllmVersion version) {
  return placement_fallback(p, num_expert_group, version) ? ExpertPlacement::linear : p.expert_placement_strategy;
}

NodeFacts node_facts(const Gpu& gpu, int gpus) {
  NodeFacts node;
  node.gpu_name = gpu.name;
  node.memory_bytes = gpu.memory_total.value;
  node.vendor = gpu.vendor;
  node.capability = gpu.compute_capability;
  node.gpus = gpus;
  node.ray_installed = true;
  return node;
}

}  // namespace shardwise
