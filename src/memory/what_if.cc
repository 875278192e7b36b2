#include "memory/what_if.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "memory/memory_planner.h"
#include "memory/startup.h"

namespace shardwise {

std::optional<std::int64_t> largest_max_model_len(const Model& model, const EngineConfig& engine, const Gpu& gpu) {
  EngineConfig e = engine;
  e.max_model_len = 0;
  e.auto_fit_max_model_len = true;
  const auto plan = plan_memory(model, e, gpu);
  return plan.refusal ? std::nullopt : std::optional(plan.max_model_len);
}

std::vector<MemoryWhatIf> memory_what_if(const Model& model, const EngineConfig& engine, const Gpu& gpu) {
  MemoryPlanner planner(model, gpu);
  const auto base = planner.plan(engine);
  std::vector<MemoryWhatIf> out;
  const auto add = [&](std::string change, const EngineConfig& changed) {
    MemoryWhatIf row{std::move(change), changed, planner.plan(changed), 0};
    row.kv_gib_gain = row.plan.kv_gib.mean - base.kv_gib.mean;
    out.push_back(std::move(row));
  };
  const auto& p = engine.parallel;
  const bool narrow = resolved_cache_dtype(model, engine.kv_cache_dtype, generation_of(gpu)).starts_with("fp8");
  if (!narrow && (model.has_full_attention() || model.is_mla())) {
    auto e = engine;
    e.kv_cache_dtype = "fp8";
    add("--kv-cache-dtype fp8", e);
  }
  if (const int heads = model.num_attention_heads(); heads == 0 || heads % (2 * p.tensor_parallel_size) == 0) {
    auto e = engine;
    e.parallel.tensor_parallel_size *= 2;
    add(to_string(e.parallel), e);
  }
  if (engine.max_num_batched_tokens > 2048) {
    auto e = engine;
    e.max_num_batched_tokens = std::max<std::int64_t>(2048, engine.max_num_batched_tokens / 2);
    add(fmt::format("--max-num-batched-tokens {}", e.max_num_batched_tokens), e);
  }
  if (engine.max_num_seqs > 256) {
    auto e = engine;
    e.max_num_seqs = 256;
    add("--max-num-seqs 256", e);
  }
  if (base.kv_replication > 1 && p.decode_context_parallel_size == 1) {
    const int copies = static_cast<int>(base.kv_replication);
    auto e = engine;
    e.parallel.decode_context_parallel_size = copies;
    if (p.tensor_parallel_size % copies == 0) add(to_string(e.parallel), e);
    if (model.is_moe() && p.tensor_parallel_size % copies == 0) {
      auto dp = engine;
      dp.parallel.tensor_parallel_size /= copies;
      dp.parallel.data_parallel_size *= copies;
      dp.parallel.enable_expert_parallel = true;
      add(to_string(dp.parallel), dp);
    }
  }
  if (!engine.enforce_eager && engine.vllm_version >= VllmVersion{0, 20, 0}) {
    auto e = engine;
    e.enforce_eager = true;
    add("--enforce-eager", e);
  }
  return out;
}

double recommended_gpu_memory_utilization(const Model& model, const EngineConfig& engine, const Gpu& gpu) {
  EngineConfig e = engine;
  e.gpu_memory_utilization = 1.0;
  e.kv_cache_memory_bytes.reset();
  const auto plan = plan_memory(model, e, gpu);
  if (plan.stages.empty() || plan.gpu_total.value <= 0) return default_gpu_memory_utilization(engine.vllm_version);
  // Graphs are captured after the KV cache is allocated; what the version does not set aside for them must stay free.
  const auto& stage = plan.stages[static_cast<std::size_t>(plan.binding_stage)];
  const auto terms = startup_terms(startup_features(model, e, gpu, stage.first_layer, stage.last_layer), e, gpu);
  const double graphs = to_gib(terms.cuda_graph - terms.cuda_graph_reserved);
  const double safe = to_gib(plan.free_at_start) - graphs - 2 * kv_sigma_gib(0, engine);
  return std::clamp(std::floor(100 * safe / to_gib(plan.gpu_total)) / 100, gpu.memory_taken.value > 0 ? 0.01 : 0.5,
                    0.98);
}

}  // namespace shardwise
