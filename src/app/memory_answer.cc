#include "app/memory_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "app/explain.h"
#include "parallel/checked_versions.h"

namespace shardwise {
namespace {

/// Largest length (in steps of one block) for which the engine starts.
std::optional<std::int64_t> longest(const Model& model, EngineConfig engine, const Gpu& gpu, std::int64_t most) {
  const auto starts = [&](std::int64_t length) {
    engine.max_model_len = length;
    return !plan_memory(model, engine, gpu).refusal;
  };
  if (starts(most)) return most;
  std::int64_t good = 0, bad = most;
  while (bad - good > 1) {
    const auto mid = good + (bad - good) / 2;
    (starts(mid) ? good : bad) = mid;
  }
  return good > 0 ? std::optional(good) : std::nullopt;
}

}  // namespace

MemoryAnswer memory_answer(const CheckRequest& given) {
  MemoryAnswer a;
  a.request = given;
  a.request.model = with_hf_overrides(given.model, given.args);
  const CheckRequest& request = a.request;
  if (const auto note = unchecked_version_note(request.vllm_version)) a.warnings.push_back(*note);
  const auto& gpu = request.cluster.first_gpu();
  const auto facts = model_facts(*request.model, request.vllm_version);
  // Memory is asked for before anyone decides on nodes: one node with all GPUs stands for them.
  const auto node = node_facts(gpu, std::max(request.cluster.total_gpus(), 1));
  const auto resolution = resolve(request.args, facts, node, request.env, request.vllm_version);
  if (const auto* refusal = std::get_if<Refusal>(&resolution)) {
    a.refusal = *refusal;
    return a;
  }
  a.engine = engine_config(std::get<Resolved>(resolution));
  a.refusal = check_layout(facts, a.engine.parallel, node, request.vllm_version);
  if (a.refusal) return a;
  a.memory = plan_memory(*request.model, a.engine, gpu);
  a.longest_model_len = longest(*request.model, a.engine, gpu, a.engine.max_model_len);
  a.concurrency_at_mean = a.memory.concurrency_at(request.workload.isl.mean() + request.workload.osl.mean());
  // Half the width of the interval below the mean is what bad luck may cost: that much less asked of the GPU is safe.
  const double spare = 0.98 - to_gib(a.memory.requested) / to_gib(a.memory.gpu_total);
  if (spare > 0.005) a.recommended_gpu_memory_utilization = std::floor((a.engine.gpu_memory_utilization + spare - 0.02) * 100) / 100;

  const auto what_if = [&](const std::string& what, const std::function<void(EngineConfig&)>& edit) {
    EngineConfig engine = a.engine;
    edit(engine);
    if (check_layout(facts, engine.parallel, node, request.vllm_version)) return;
    MemoryWhatIf w{what, plan_memory(*request.model, engine, gpu), 0};
    w.gained_tokens = w.memory.kv_tokens - a.memory.kv_tokens;
    a.what_ifs.push_back(std::move(w));
  };
  if (!a.engine.kv_cache_dtype.starts_with("fp8")) what_if("--kv-cache-dtype fp8", [](EngineConfig& e) { e.kv_cache_dtype = "fp8"; });
  what_if(fmt::format("--tensor-parallel-size {}", 2 * a.engine.parallel.tensor_parallel_size), [](EngineConfig& e) { e.parallel.tensor_parallel_size *= 2; });
  if (a.engine.max_num_batched_tokens > 2048)
    what_if("--max-num-batched-tokens 2048", [](EngineConfig& e) { e.max_num_batched_tokens = 2048; });
  if (a.engine.gpu_memory_utilization < 0.95) what_if("--gpu-memory-utilization 0.95", [](EngineConfig& e) { e.gpu_memory_utilization = 0.95; });
  if (!a.engine.enforce_eager)
    what_if("--enforce-eager", [](EngineConfig& e) {
      e.enforce_eager = true;
      e.cudagraph_mode = CudagraphMode::none;
      e.cudagraph_capture_sizes.clear();
    });
  if (a.memory.kv_replication > 1.001) {
    const int copies = static_cast<int>(std::lround(a.memory.kv_replication));
    what_if(fmt::format("--decode-context-parallel-size {}", copies), [&](EngineConfig& e) { e.parallel.decode_context_parallel_size = copies; });
  }
  return a;
}

}  // namespace shardwise
