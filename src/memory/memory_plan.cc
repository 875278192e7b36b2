#include "memory/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "config/json.h"
#include "memory/kv_plan.h"
#include "memory/kv_specs.h"
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

}  // namespace

KvSpecOptions kv_spec_options(const Model& model, const EngineConfig& engine, const Gpu& gpu) {
  KvSpecOptions o;
  o.version = engine.vllm_version;
  o.compute_capability = gpu.compute_capability;
  o.parallel = engine.parallel;
  o.cache_dtype = resolved_cache_dtype(model, engine.kv_cache_dtype, gpu.compute_capability);
  o.block_size = engine.block_size;
  // Hybrid models cache prefixes by default from 0.28 on.
  o.enable_prefix_caching = engine.enable_prefix_caching && engine.vllm_version >= VllmVersion{0, 28, 0};
  o.max_model_len = engine.max_model_len > 0 ? engine.max_model_len : model.default_max_model_len;
  o.num_speculative_tokens = engine.num_speculative_tokens;
  o.draft_is_mtp = engine.draft_is_mtp();
  o.language_model_only = engine.language_model_only;
  return o;
}

KvPlanOptions kv_plan_options(const Model& model, const EngineConfig& engine, const KvSpecs& specs) {
  KvPlanOptions o;
  o.version = engine.vllm_version;
  o.layout = specs.layout;
  o.auto_fit_max_model_len = engine.auto_fit_max_model_len;
  o.max_model_len = engine.max_model_len > 0 ? engine.max_model_len : model.default_max_model_len;
  // VllmConfig.max_concurrent_batches: one more than the stages with asynchronous scheduling; one batch before 0.26.
  const auto& p = engine.parallel;
  const int batches =
      engine.vllm_version < VllmVersion{0, 26, 0} ? 1 : p.pipeline_parallel_size + (engine.async_scheduling ? 1 : 0);
  o.max_in_flight_tokens = batches * engine.max_num_batched_tokens;
  o.tensor_parallel_size = p.tensor_parallel_size;
  o.decode_context_parallel_size = p.decode_context_parallel_size;
  o.prefill_context_parallel_size = p.prefill_context_parallel_size;
  o.enable_prefix_caching = engine.enable_prefix_caching;
  o.block_size = specs.block_size;
  return o;
}

double MemoryPlan::blocks_per_request(double tokens) const {
  double blocks = 0;
  for (const auto& group : groups) {
    const double kept = group.max_tokens ? std::min(tokens, *group.max_tokens) : tokens;
    blocks += group.fixed_blocks + (group.tokens_per_block > 0 ? std::ceil(kept / group.tokens_per_block) : 0.0);
  }
  return std::max(blocks, 1.0);
}

namespace {

/// Specs and groups of one model and layout. Searches ask for the same ones with other expert layouts and lengths of
/// batch.
struct Grouped {
  std::weak_ptr<const Json> config;  // identity of the model: copies share it
  std::size_t layers = 0;
  DType dtype = DType::bfloat16;
  bool vision = false;
  KvSpecOptions spec_options;
  KvPlanOptions plan_options;
  KvSpecs specs;
  std::shared_ptr<const KvGrouping> grouping;
};

std::shared_ptr<const Grouped> grouped(const Model& model, const EngineConfig& engine, const Gpu& gpu) {
  constexpr std::size_t kKept = 32;
  thread_local std::vector<std::shared_ptr<const Grouped>> kept;
  thread_local std::size_t next = 0;
  Grouped g{model.config,
            model.layers.size(),
            model.dtype,
            model.vision.has_value(),
            kv_spec_options(model, engine, gpu),
            {},
            {},
            nullptr};
  const auto& p = engine.parallel;  // what the specs depend on: neither experts nor data parallelism
  g.spec_options.parallel = {};
  g.spec_options.parallel.tensor_parallel_size = p.tensor_parallel_size;
  g.spec_options.parallel.pipeline_parallel_size = p.pipeline_parallel_size;
  g.spec_options.parallel.prefill_context_parallel_size = p.prefill_context_parallel_size;
  g.spec_options.parallel.decode_context_parallel_size = p.decode_context_parallel_size;
  g.spec_options.parallel.pp_layer_partition = p.pp_layer_partition;
  KvSpecs none;
  g.plan_options = kv_plan_options(model, engine, none);
  const auto same = [&](const Grouped& k) {
    auto plan = k.plan_options;  // layout and block size follow from the specs
    plan.layout = none.layout;
    plan.block_size = none.block_size;
    return k.layers == g.layers && k.dtype == g.dtype && k.vision == g.vision && k.spec_options == g.spec_options &&
           plan == g.plan_options && k.config.lock() == model.config;
  };
  if (model.config)
    for (const auto& k : kept)
      if (same(*k)) return k;
  g.specs = kv_specs(model, g.spec_options);
  g.plan_options = kv_plan_options(model, engine, g.specs);
  g.grouping = std::make_shared<const KvGrouping>(g.specs.layers, g.plan_options);
  auto fresh = std::make_shared<const Grouped>(std::move(g));
  if (model.config) {
    if (kept.size() < kKept)
      kept.push_back(fresh);
    else
      kept[next++ % kKept] = fresh;
  }
  return fresh;
}

}  // namespace

MemoryPlan plan_memory(const Model& model, const EngineConfig& engine, const Gpu& gpu) {
  MemoryPlan plan;
  const auto& parallel = engine.parallel;
  plan.gpu_total = gpu.memory_total;
  plan.requested = Bytes(static_cast<std::int64_t>(
      std::ceil(static_cast<double>(gpu.memory_total.value) * engine.gpu_memory_utilization)));
  plan.free_at_start = gpu.memory_total - taken_at_start(engine, gpu);
  const int kv_heads = std::max(1, model.num_key_value_heads()), tp = parallel.tensor_parallel_size;
  plan.kv_replication =
      std::max(1.0, static_cast<double>(tp) / kv_heads / std::max(1, parallel.decode_context_parallel_size));

  const auto prepared = grouped(model, engine, gpu);
  const auto& specs = prepared->specs;
  const auto& grouping = *prepared->grouping;
  const auto ranges = pp_layers(model.num_hidden_layers(), parallel);
  std::vector<std::int64_t> available;
  for (std::size_t s = 0; s < ranges.size(); ++s) {
    StageMemory stage;
    stage.pp_rank = static_cast<int>(s);
    stage.first_layer = ranges[s].first;
    stage.last_layer = ranges[s].second;
    // The stage's first rank: with uneven experts the one that holds the most.
    const int rank = static_cast<int>(s) * tp * parallel.prefill_context_parallel_size;
    stage.weights = rank_weights(model, engine, rank, gpu.compute_capability);
    const auto terms =
        startup_terms(startup_features(model, engine, gpu, ranges[s].first, ranges[s].second), engine, gpu);
    stage.activation = terms.activation;
    stage.non_torch = terms.non_torch - gib(gpu.kv_correction ? gpu.kv_correction->gib : 0);
    stage.cuda_graph = terms.cuda_graph_reserved;
    stage.kv_cache =
        engine.kv_cache_memory_bytes ? Bytes(*engine.kv_cache_memory_bytes) : plan.requested - stage.used();
    available.push_back(stage.kv_cache.value);
    plan.stages.push_back(stage);
    const auto& binding = plan.stages[static_cast<std::size_t>(plan.binding_stage)];
    if (grouping.failure() || grouping.empty()) {
      if (stage.kv_cache < binding.kv_cache) plan.binding_stage = stage.pp_rank;
    } else if (const auto here = grouping.bytes_per_block(stage.pp_rank),
               there = grouping.bytes_per_block(plan.binding_stage);
               here > 0 && (there == 0 || stage.kv_cache.value / here < binding.kv_cache.value / there)) {
      plan.binding_stage = stage.pp_rank;
    }
  }
  if (plan.stages.empty()) return plan;
  const auto& binding = plan.stages[static_cast<std::size_t>(plan.binding_stage)];
  const double kv = to_gib(binding.kv_cache);
  const double sigma = engine.kv_cache_memory_bytes ? 1e-6
                       : gpu.kv_correction          ? gpu.kv_correction->sd
                                                    : kv_sigma_gib(kv, engine);
  plan.kv_gib = {kv, kv - 1.645 * sigma, kv + 1.645 * sigma};
  plan.block_size = specs.block_size;

  const auto result = grouping.plan(available);
  plan.max_model_len = engine.max_model_len > 0 ? engine.max_model_len : model.default_max_model_len;
  if (const auto* planned = std::get_if<KvPlan>(&result)) plan.max_model_len = planned->max_model_len;
  const bool sized = !grouping.failure() && !grouping.empty();
  // A length that is fitted can go down to one token; a given one must fit whole, with the null block.
  const auto bytes_for = [&](std::int64_t tokens) {
    return Bytes(grouping.bytes_per_block(plan.binding_stage) *
                 (grouping.blocks_per_request(std::max<std::int64_t>(tokens, 1), plan.binding_stage) + 1));
  };
  if (sized) plan.kv_needed = bytes_for(plan.max_model_len);
  const double needed = !sized ? 0.0 : to_gib(engine.auto_fit_max_model_len ? bytes_for(1) : plan.kv_needed);
  plan.probability_fits = probability_at_least(kv, needed, sigma);
  if (const auto* planned = std::get_if<KvPlan>(&result)) {
    plan.num_blocks = planned->num_blocks;
    plan.block_size = planned->block_size;
    plan.kv_tokens = planned->kv_tokens;
    plan.max_concurrency = planned->max_concurrency;
    for (const auto& group : planned->groups)
      plan.groups.push_back(linear_form(group, parallel.decode_context_parallel_size));
  }
  if (plan.requested > plan.free_at_start && engine.vllm_version >= VllmVersion{0, 8, 0} &&
      !engine.kv_cache_memory_bytes) {
    plan.probability_fits = 0;
    const auto message = fmt::format(
        "gpu_memory_utilization {} asks for {:.2f} GiB; of {:.2f} GiB about {:.2f} are free when vLLM starts",
        engine.gpu_memory_utilization, to_gib(plan.requested), to_gib(plan.gpu_total), to_gib(plan.free_at_start));
    plan.refusal = {refuse("memory_free_at_start", message), plan.requested - plan.free_at_start, std::nullopt};
    return plan;
  }
  for (const auto& stage : plan.stages)
    if (stage.weights.total() > plan.gpu_total) {
      plan.probability_fits = 0;
      const auto message = fmt::format("weights of stage {} are {:.2f} GiB per GPU, the GPU has {:.2f} GiB",
                                       stage.pp_rank, to_gib(stage.weights.total()), to_gib(plan.gpu_total));
      plan.refusal = {refuse("memory_weights", message), stage.weights.total() - plan.gpu_total, std::nullopt};
      return plan;
    }
  if (const auto* refused = std::get_if<KvRefusal>(&result)) {
    const auto why =
        binding.kv_cache.value > 0
            ? refuse("memory_max_model_len", refused->message)
            : refuse("memory_no_kv", fmt::format("no memory is left for KV blocks on stage {}: {:.2f} GiB "
                                                 "may be used, {:.2f} GiB are taken before them",
                                                 plan.binding_stage, to_gib(plan.requested), to_gib(binding.used())));
    plan.refusal = {why, gib(std::max(0.0, needed - kv)), refused->estimated_max_model_len};
  }
  return plan;
}

}  // namespace shardwise
