#include "parallel/resolve.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <unordered_map>

#include "base/text.h"
#include "hardware/hardware.h"
#include "parallel/construction.h"
#include "parallel/rule_rows.h"

namespace shardwise {
namespace {

constexpr std::array kPhases = {Phase::arguments, Phase::serve,    Phase::model,       Phase::features,
                                Phase::options,   Phase::parallel, Phase::speculative, Phase::spec_target,
                                Phase::scheduler, Phase::hooks,    Phase::target,      Phase::quantised,
                                Phase::execution, Phase::launch,   Phase::worker};

/// Rows of one phase for one version, in order.
using PhaseRows = std::array<std::vector<const RuleRow*>, kPhases.size()>;

PhaseRows rows_at(VllmVersion version) {
  PhaseRows rows;
  for (const auto& row : rule_rows())
    if (row.rule.since <= version && version < row.rule.until)
      rows[static_cast<std::size_t>(row.phase)].push_back(&row);
  return rows;
}

/// Between two versions at which a rule comes or goes the rows are the same.
const PhaseRows& rows_of(VllmVersion version) {
  static const std::map<VllmVersion, PhaseRows> from = [] {
    std::map<VllmVersion, PhaseRows> out = {{always, rows_at(always)}};
    for (const auto& row : rule_rows())
      for (const auto change : {row.rule.since, row.rule.until})
        if (!out.contains(change)) out.emplace(change, rows_at(change));
    return out;
  }();
  return std::prev(from.upper_bound(version))->second;
}

/// The draft repeats the target's checks: all of them for n-gram (the draft is the target); for MTP the heads, and the
/// pipeline while the draft had one.
bool repeated_for_draft(const ResolveState& s, const RuleRow& row) {
  if (!s.has_spec) return false;
  if (s.spec_method == "ngram" || s.spec_method == "ngram_gpu") return true;
  if (s.spec_method != "mtp") return false;
  return row.rule.id == "attn_heads_not_divisible_by_tp" || row.rule.id == "pp_not_supported_by_model";
}

Refusal refusal(const Rule& rule, std::string message) {
  return {std::string(rule.id), std::string(rule.stage), std::string(rule.where), std::move(message),
          std::string(rule.instead)};
}

void read_pp_partition(ResolveState& s) {
  auto& r = s.r;
  ParallelConfig p;
  p.pipeline_parallel_size = static_cast<int>(std::max<std::int64_t>(r.pipeline_parallel_size, 1));
  if (const auto it = s.env.find("VLLM_PP_LAYER_PARTITION"); it != s.env.end()) {
    std::int64_t sum = 0;
    for (const auto& word : split(it->second, ',')) {
      char* end = nullptr;
      const auto text = std::string(trim(word));
      const auto layers = std::strtoll(text.c_str(), &end, 10);
      if (text.empty() || *end) {
        r.pp_layers_error = "ValueError: Invalid partition string: " + it->second;
        return;
      }
      p.pp_layer_partition.push_back(static_cast<int>(layers));
      sum += layers;
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
  p.expert_placement_strategy =
      r.expert_placement_strategy == "round_robin" ? ExpertPlacement::round_robin : ExpertPlacement::linear;
  p.enable_eplb = r.enable_eplb;
  p.num_redundant_experts = static_cast<int>(r.num_redundant_experts);
  p.all2all_backend = r.all2all_backend;
  p.pp_layer_partition = r.pp_layer_partition;
  return p;
}

}  // namespace

void derive(Phase phase, ResolveState& state) {
  if (phase <= Phase::parallel)
    derive_config(phase, state);
  else
    derive_execution(phase, state);
}

Resolution resolve(const EngineArgs& args, const ModelFacts& model, const NodeFacts& node, const Environment& env,
                   VllmVersion version, EntryMode mode) {
  ResolveState s(args, model, node, env, mode, version);
  const auto& rows = rows_of(version);
  for (const auto phase : kPhases) {
    derive(phase, s);
    check_fields(phase, s);
    if (s.field_problem.starts_with("field_range:"))
      return Refusal{s.field_problem, "config", "engine/arg_utils.py:create_engine_config", s.field_message,
                     "a value in range"};
    for (const auto* row : rows[static_cast<std::size_t>(phase)]) {
      if (phase == Phase::spec_target && !repeated_for_draft(s, *row)) continue;
      if (auto message = row->check(s)) return refusal(row->rule, std::move(*message));
    }
    if (phase == Phase::model && !model.refusal_rule.empty())
      return Refusal{model.refusal_rule, "config",
                     "transformers_utils/model_arch_config_convertor.py:_normalize_quantization_config",
                     model.refusal_message, ""};
  }
  read_pp_partition(s);
  s.r.effective_placement = effective_placement(parallel_config(s.r), model.num_expert_group, version);
  return std::move(s.r);
}

ModelFacts model_facts(const Model& model, const EngineArgs& args, VllmVersion version) {
  auto facts = model_facts(model, version);
  if (args.language_model_only.value_or(false) || args.mm_encoder_tp_mode.value_or("") == "data")
    facts.construction.vision_heads = 0;
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
  e.kv_cache_memory_bytes = r.kv_cache_memory_bytes;
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

namespace {

Refusal layout_refusal(std::string_view id, std::string message) {
  const auto* rule = find_rule(id);
  return rule ? refusal(*rule, std::move(message)) : Refusal{std::string(id), "config", "", std::move(message), ""};
}

}  // namespace

std::optional<Refusal> check_layout(const ModelFacts& m, const ParallelConfig& p, const NodeFacts&,
                                    VllmVersion version) {
  const int tp = p.tensor_parallel_size, pcp = p.prefill_context_parallel_size, dcp = p.decode_context_parallel_size;
  const int ranks = tp * pcp * p.data_parallel_size;
  if (version >= VllmVersion{0, 26, 0} && version < VllmVersion{0, 30, 0} && pcp > 1 && p.data_parallel_size > 1)
    return layout_refusal("pcp_with_dp", fmt::format("PCP {} with DP {}", pcp, p.data_parallel_size));
  if (p.enable_eplb && !p.enable_expert_parallel)
    return layout_refusal("eplb_needs_ep", "EPLB without expert parallelism");
  if (p.enable_eplb && ranks <= 1) return layout_refusal("eplb_needs_parallelism", "one expert rank");
  if (!p.enable_eplb && p.num_redundant_experts != 0)
    return layout_refusal("redundant_experts_without_eplb",
                          fmt::format("num_redundant_experts {} without EPLB", p.num_redundant_experts));
  if ((pcp == 1 || version < VllmVersion{0, 26, 0}) && tp % dcp != 0)
    return layout_refusal("dcp_does_not_divide_tp", fmt::format("tp_size={} is not divisible by dcp_size={}", tp, dcp));
  if (pcp > 1 && version >= VllmVersion{0, 26, 0} && dcp != 1 && dcp != pcp && dcp != tp * pcp)
    return layout_refusal("dcp_with_pcp_bad_size", fmt::format("TP={}, PCP={}, DCP={}", tp, pcp, dcp));
  if (m.num_attention_heads % tp != 0)
    return layout_refusal(
        "attn_heads_not_divisible_by_tp",
        fmt::format("{} attention heads are not divisible by tensor_parallel_size {}", m.num_attention_heads, tp));
  if (p.enable_expert_parallel && !m.is_moe) return layout_refusal("ep_on_dense_model", "the model has 0 experts");
  if (p.pipeline_parallel_size > 1 && !m.supports_pp)
    return layout_refusal(
        "pp_not_supported_by_model",
        fmt::format("pipeline_parallel_size {}, and {} does not support it", p.pipeline_parallel_size, m.architecture));
  if (dcp > 1 && !m.is_mla) {
    const int kv = m.num_key_value_heads;
    if (kv == 0) return layout_refusal("dcp_without_kv_heads", "the model has 0 KV heads");
    if (tp <= kv)
      return layout_refusal("dcp_gqa_tp_not_above_kv_heads",
                            fmt::format("tensor_parallel_size {} is not above the {} KV heads", tp, kv));
    if (dcp > tp / kv)
      return layout_refusal("dcp_gqa_exceeds_max",
                            fmt::format("decode_context_parallel_size {} is above {}", dcp, tp / kv));
    if ((m.num_attention_heads / kv) % dcp != 0)
      return layout_refusal(
          "dcp_gqa_q_per_kv",
          fmt::format("{} query heads per KV head are not divisible by decode_context_parallel_size {}",
                      m.num_attention_heads / kv, dcp));
  }
  if (p.all2all_backend == "moonep" &&
      (!m.quantization.empty() || p.enable_eplb || p.expert_placement_strategy != ExpertPlacement::linear))
    return layout_refusal(!m.quantization.empty() ? "moonep_bf16_only"
                          : p.enable_eplb         ? "moonep_no_eplb"
                                                  : "moonep_linear_only",
                          "moonep");
  return check_construction(m, p, m.quantization);
}

NodeFacts node_facts(const Gpu& gpu, int gpus) {
  NodeFacts node;
  node.gpu_name = gpu.name;
  node.memory_bytes = gpu.memory_total.value;
  node.vendor = gpu.vendor;
  node.capability = gpu.compute_capability;
  node.gpus = gpus;
  return node;
}

}  // namespace shardwise
