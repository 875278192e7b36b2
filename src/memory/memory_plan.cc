#include "memory/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "memory/kv_plan.h"
#include "memory/kv_specs.h"
#include "memory/startup.h"
#include "memory/weights.h"

namespace shardwise {

KvSpecOptions kv_spec_options(const Model& model, const EngineConfig& engine, const Gpu& gpu) {
  KvSpecOptions o;
  o.version = engine.vllm_version;
  o.generation = &generation_of(gpu);
  o.parallel = engine.parallel;
  o.cache_dtype = resolved_cache_dtype(model, engine.kv_cache_dtype, *o.generation);
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

}  // namespace shardwise
