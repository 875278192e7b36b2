#include "memory/memory_planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "memory/all2all_buffers.h"
#include "memory/startup.h"
#include "memory/weights.h"

namespace shardwise {

namespace {

/// Probability that a normal quantity of mean `mean` and deviation `sigma` is at least `needed`.
double probability_at_least(double mean, double needed, double sigma) {
  return 0.5 * std::erfc((needed - mean) / (sigma * std::sqrt(2.0)));
}

/// A group as the number of blocks that a running request holds: what it has in its window, not the reserve for
/// admission.
MemoryPlan::Group linear_form(const KvGroup& group, int dcp) {
  MemoryPlan::Group out;
  const auto& spec = group.spec;
  out.block_size = spec.block_size;
  out.mamba_align = spec.mamba_align;
  if (!spec.is_attention() || spec.type == KvSpecType::circular_buffer) {
    out.keeps = MemoryPlan::Group::Keeps::state;
  } else if (spec.is_sliding() && spec.sliding_window) {
    out.keeps = MemoryPlan::Group::Keeps::sliding_window;
    out.window = *spec.sliding_window;
  } else if (spec.type == KvSpecType::chunked_local && spec.attention_chunk_size) {
    out.keeps = MemoryPlan::Group::Keeps::attention_chunk;
    out.window = *spec.attention_chunk_size;
  }
  out.tokens_per_block = static_cast<double>(spec.block_size) * (spec.dcp_sharded ? dcp : 1);
  if (spec.sliding_window)
    out.max_tokens = static_cast<double>(*spec.sliding_window - 1 + spec.extra_retained_tokens), out.fixed_blocks = 1;
  if (spec.attention_chunk_size && spec.type == KvSpecType::chunked_local)
    out.max_tokens = static_cast<double>(*spec.attention_chunk_size);
  if (spec.is_full()) out.max_tokens.reset(), out.fixed_blocks = 0;
  if (!spec.is_attention() || spec.type == KvSpecType::circular_buffer) {
    out.tokens_per_block = 0;
    out.fixed_blocks = static_cast<double>(group.blocks_per_request);
  }
  return out;
}

/// The parallelism that KV specs depend on: neither experts nor data parallelism.
ParallelConfig without_experts(const ParallelConfig& p) {
  ParallelConfig out;
  out.tensor_parallel_size = p.tensor_parallel_size;
  out.pipeline_parallel_size = p.pipeline_parallel_size;
  out.prefill_context_parallel_size = p.prefill_context_parallel_size;
  out.decode_context_parallel_size = p.decode_context_parallel_size;
  out.pp_layer_partition = p.pp_layer_partition;
  return out;
}

/// The stage with the fewest KV blocks, or the least KV memory where blocks have no size, binds.
bool binds_more(const StageMemory& stage, const StageMemory& binding, const KvGrouping& grouping) {
  if (grouping.failure() || grouping.empty()) return stage.kv_cache < binding.kv_cache;
  const auto here = grouping.bytes_per_block(stage.pp_rank), there = grouping.bytes_per_block(binding.pp_rank);
  return here > 0 && (there == 0 || stage.kv_cache.value / here < binding.kv_cache.value / there);
}

std::optional<MemoryRefusal> not_free(const MemoryPlan& plan, const EngineConfig& engine, Bytes taken) {
  if (plan.requested <= plan.free_at_start || engine.vllm_version < VllmVersion{0, 8, 0} ||
      engine.kv_cache_memory_bytes)
    return std::nullopt;
  auto message = fmt::format(
      "gpu_memory_utilization {} asks for {:.2f} GiB; of {:.2f} GiB about {:.2f} are free when vLLM starts",
      engine.gpu_memory_utilization, to_gib(plan.requested), to_gib(plan.gpu_total), to_gib(plan.free_at_start));
  if (taken.value > 0) message += fmt::format(", {:.2f} are taken by others", to_gib(taken));
  return MemoryRefusal{refuse("memory_free_at_start", message), plan.requested - plan.free_at_start, std::nullopt};
}

std::optional<MemoryRefusal> weights_too_large(const MemoryPlan& plan) {
  for (const auto& stage : plan.stages)
    if (stage.weights.total() > plan.gpu_total) {
      const auto message = fmt::format("weights of stage {} are {:.2f} GiB per GPU, the GPU has {:.2f} GiB",
                                       stage.pp_rank, to_gib(stage.weights.total()), to_gib(plan.gpu_total));
      return MemoryRefusal{refuse("memory_weights", message), stage.weights.total() - plan.gpu_total, std::nullopt};
    }
  return std::nullopt;
}

/// vLLM takes the size that is given without profiling, and runs out when it allocates.
std::optional<MemoryRefusal> given_cache_too_large(const MemoryPlan& plan, const EngineConfig& engine) {
  if (!engine.kv_cache_memory_bytes) return std::nullopt;
  for (const auto& stage : plan.stages) {
    const auto missing = stage.weights.total() + stage.kv_cache - plan.gpu_total;
    if (missing.value <= 0) continue;
    const auto message = fmt::format(
        "kv_cache_memory_bytes asks for {:.2f} GiB beside {:.2f} GiB of weights of stage {}, the GPU has {:.2f} GiB",
        to_gib(stage.kv_cache), to_gib(stage.weights.total()), stage.pp_rank, to_gib(plan.gpu_total));
    return MemoryRefusal{refuse("memory_kv_cache_bytes", message), missing, std::nullopt};
  }
  return std::nullopt;
}

/// vLLM's own refusal; `missing`: GiB.
MemoryRefusal no_kv_cache(const MemoryPlan& plan, const KvRefusal& refused, double missing) {
  const auto& binding = plan.stages[static_cast<std::size_t>(plan.binding_stage)];
  if (binding.kv_cache.value > 0)
    return {refuse("memory_max_model_len", refused.message), gib(missing), refused.estimated_max_model_len};
  const auto message = fmt::format(
      "no memory is left for KV blocks on stage {}: {:.2f} GiB may be used, {:.2f} GiB are taken before them",
      plan.binding_stage, to_gib(plan.requested), to_gib(binding.used()));
  return {refuse("memory_no_kv", message), gib(missing), refused.estimated_max_model_len};
}

bool has_full_graphs(const EngineConfig& engine) {
  return !engine.enforce_eager &&
         (engine.cudagraph_mode == CudagraphMode::full || engine.cudagraph_mode == CudagraphMode::full_decode_only ||
          engine.cudagraph_mode == CudagraphMode::full_and_piecewise);
}

/// Recurrent states whose full graphs want a block for every request of a step.
bool blocks_for_every_request(const KvPlan& plan, const EngineConfig& engine) {
  return engine.vllm_version >= VllmVersion{0, 20, 0} && has_full_graphs(engine) &&
         std::ranges::any_of(plan.groups, [](const KvGroup& g) { return g.spec.type == KvSpecType::mamba; });
}

std::optional<MemoryRefusal> too_many_requests(const MemoryPlan& plan, const EngineConfig& engine,
                                               std::int64_t bytes_per_block) {
  if (engine.max_num_seqs <= plan.num_blocks) return std::nullopt;
  const auto message =
      fmt::format("max_num_seqs ({}) exceeds available Mamba cache blocks ({})", engine.max_num_seqs, plan.num_blocks);
  return MemoryRefusal{refuse("max_num_seqs_above_mamba_blocks", message),
                       Bytes((engine.max_num_seqs - plan.num_blocks) * bytes_per_block), std::nullopt};
}

}  // namespace

MemoryPlanner::MemoryPlanner(const Model& model, const Gpu& gpu)
    : model_(model), gpu_(gpu), generation_(generation_of(gpu)), weights_(weight_program(model)) {}

const MemoryPlanner::Grouped& MemoryPlanner::grouped(const EngineConfig& engine) {
  auto spec_options = kv_spec_options(model_, engine, gpu_);
  spec_options.parallel = without_experts(engine.parallel);
  const auto asked = kv_plan_options(model_, engine, KvSpecs{});
  for (const auto& known : grouped_)
    if (known.spec_options == spec_options && known.asked == asked) return known;
  auto specs = kv_specs(model_, spec_options);
  const auto plan_options = kv_plan_options(model_, engine, specs);
  KvGrouping grouping(specs.layers, plan_options);
  constexpr std::size_t kKept = 32;
  if (grouped_.size() == kKept) grouped_.pop_back();
  return grouped_.emplace_front(Grouped{std::move(spec_options), asked, std::move(specs), std::move(grouping)});
}

StageMemory MemoryPlanner::stage_memory(const EngineConfig& engine, int stage, std::pair<int, int> layers,
                                        Bytes requested) const {
  const auto& p = engine.parallel;
  StageMemory out;
  out.pp_rank = stage;
  out.first_layer = layers.first, out.last_layer = layers.second;
  // The stage's first rank: with uneven experts the one that holds the most.
  const int rank = stage * p.tensor_parallel_size * p.prefill_context_parallel_size;
  out.weights = rank_weights(weights_, model_, engine, rank, generation_);
  const auto terms = startup_terms(startup_features(model_, engine, gpu_, layers.first, layers.second), engine, gpu_);
  out.activation = terms.activation;
  out.non_torch = terms.non_torch + all2all_buffers(model_, engine, gpu_.scale_up_domain()) -
                  gib(gpu_.kv_correction ? gpu_.kv_correction->gib : 0);
  out.cuda_graph = terms.cuda_graph_reserved;
  out.kv_cache = engine.kv_cache_memory_bytes ? Bytes(*engine.kv_cache_memory_bytes) : requested - out.used();
  return out;
}

MemoryPlan MemoryPlanner::plan(const EngineConfig& engine) {
  MemoryPlan plan;
  const auto& parallel = engine.parallel;
  plan.gpu_total = gpu_.memory_total;
  plan.requested = Bytes(static_cast<std::int64_t>(
      std::ceil(static_cast<double>(gpu_.memory_total.value) * engine.gpu_memory_utilization)));
  plan.free_at_start = gpu_.memory_total - taken_at_start(engine, gpu_) - gpu_.memory_taken;
  const int kv_heads = std::max(1, model_.num_key_value_heads());
  plan.kv_replication = std::max(1.0, static_cast<double>(parallel.tensor_parallel_size) / kv_heads /
                                          std::max(1, parallel.decode_context_parallel_size));

  const auto& prepared = grouped(engine);
  const auto& grouping = prepared.grouping;
  std::vector<std::int64_t> available;
  for (const auto& range : pp_layers(model_.num_hidden_layers(), parallel)) {
    const auto& stage =
        plan.stages.emplace_back(stage_memory(engine, static_cast<int>(plan.stages.size()), range, plan.requested));
    available.push_back(stage.kv_cache.value);
    if (binds_more(stage, plan.stages[static_cast<std::size_t>(plan.binding_stage)], grouping))
      plan.binding_stage = stage.pp_rank;
  }
  if (plan.stages.empty()) return plan;
  const double kv = to_gib(plan.stages[static_cast<std::size_t>(plan.binding_stage)].kv_cache);
  const double sigma = engine.kv_cache_memory_bytes ? 1e-6
                       : gpu_.kv_correction         ? gpu_.kv_correction->sd
                                                    : kv_sigma_gib(kv, engine);
  plan.kv_gib = {kv, kv - 1.645 * sigma, kv + 1.645 * sigma};
  plan.block_size = prepared.specs.block_size;

  const auto result = grouping.plan(available);
  const auto* planned = std::get_if<KvPlan>(&result);
  plan.max_model_len = planned                    ? planned->max_model_len
                       : engine.max_model_len > 0 ? engine.max_model_len
                                                  : model_.default_max_model_len;
  // A length that is fitted can go down to one token; a given one must fit whole, with the null block.
  const auto bytes_for = [&](std::int64_t tokens) {
    return Bytes(grouping.bytes_per_block(plan.binding_stage) *
                 (grouping.blocks_per_request(std::max<std::int64_t>(tokens, 1), plan.binding_stage) + 1));
  };
  double needed = 0;
  if (!grouping.failure() && !grouping.empty()) {
    plan.kv_needed = bytes_for(plan.max_model_len);
    needed = to_gib(engine.auto_fit_max_model_len ? bytes_for(1) : plan.kv_needed);
  }
  const bool counts_requests = planned && blocks_for_every_request(*planned, engine);
  const auto bytes_per_block = counts_requests ? grouping.bytes_per_block(plan.binding_stage) : 0;
  if (counts_requests) {
    needed = std::max(needed, to_gib(Bytes(engine.max_num_seqs * bytes_per_block)));
    plan.certain_max_num_seqs = gib(std::max(0.0, plan.kv_gib.lo)).value / std::max<std::int64_t>(bytes_per_block, 1);
  }
  plan.probability_fits = probability_at_least(kv, needed, sigma);
  if (planned) {
    plan.num_blocks = planned->num_blocks;
    plan.block_size = planned->block_size;
    plan.kv_tokens = planned->kv_tokens;
    plan.max_concurrency = planned->max_concurrency;
    for (const auto& group : planned->groups)
      plan.groups.push_back(linear_form(group, parallel.decode_context_parallel_size));
  }
  plan.refusal = not_free(plan, engine, gpu_.memory_taken);
  if (!plan.refusal) plan.refusal = weights_too_large(plan);
  if (!plan.refusal) plan.refusal = given_cache_too_large(plan, engine);
  if (plan.refusal) {
    plan.probability_fits = 0;
  } else if (const auto* refused = std::get_if<KvRefusal>(&result)) {
    plan.refusal = no_kv_cache(plan, *refused, std::max(0.0, needed - kv));
  } else if (counts_requests) {
    plan.refusal = too_many_requests(plan, engine, bytes_per_block);
  }
  return plan;
}

MemoryPlan plan_memory(const Model& model, const EngineConfig& engine, const Gpu& gpu) {
  return MemoryPlanner(model, gpu).plan(engine);
}

}  // namespace shardwise
