#include "app/memory_answer.h"

#include <fmt/format.h>

#include <algorithm>

#include "app/explain.h"
#include "app/plan.h"
#include "cost/cost.h"
#include "measured/calibration.h"
#include "parallel/checked_versions.h"
#include "parallel/not_modelled.h"

namespace shardwise {
namespace {

/// Seconds a token of one request alone, of the workload's mean length, on one node.
Seconds token_time(const CheckRequest& request, const CostConstants& constants, const EngineConfig& engine) {
  StepBatch batch;
  batch.decode_seqs = 1;
  batch.decode_context = request.workload.isl.mean() + request.workload.osl.mean() / 2;
  return compile_step(*request.model, engine, request.cluster, {engine.parallel.gpus()}, constants).step_time(batch);
}

}  // namespace

std::optional<std::string> ignored_offload_note(const Resolved& resolved) {
  if (!resolved.offload_ignored) return std::nullopt;
  return "vLLM " + to_string(resolved.version) +
         " runs this model with Model Runner V2, which keeps all weights on the GPU before 0.28: "
         "VLLM_USE_V2_MODEL_RUNNER=0 lets it offload";
}

std::optional<std::string> host_memory_note(const MemoryPlan& memory) {
  Bytes most(0);
  for (const auto& stage : memory.stages) most = std::max(most, stage.weights.offloaded);
  if (most.value == 0) return std::nullopt;
  return fmt::format("{:.1f} GiB of weights are pinned in host memory for each GPU{}", to_gib(most),
                     memory.stages.size() > 1 ? " (of the stage with the most)" : "");
}

MemoryAnswer memory_answer(const CheckRequest& given) {
  MemoryAnswer a;
  a.request = given;
  a.request.model = launched_model(given.model, given.args, given.vllm_version);
  const CheckRequest& request = a.request;
  if (const auto note = unchecked_version_note(request.vllm_version)) a.warnings.push_back(*note);
  if (const auto note = not_modelled_note(request.args); !note.empty()) a.warnings.push_back(note);
  if (const auto note = unknown_arguments_note(request.args, request.vllm_version)) a.warnings.push_back(*note);
  if (const auto note = ray_note(request.args)) a.warnings.push_back(*note);
  const auto& gpu = request.cluster.first_gpu();
  const auto facts = model_facts(*request.model, request.args, request.vllm_version);
  // Memory is asked for before anyone decides on nodes: one node with all GPUs stands for them.
  const auto node = node_facts(gpu, std::max(request.cluster.total_gpus(), 1));
  const auto resolution = resolve(request.args, facts, node, request.env, request.vllm_version);
  if (const auto* refusal = std::get_if<Refusal>(&resolution)) {
    a.refusal = *refusal;
    return a;
  }
  a.engine = engine_config(std::get<Resolved>(resolution));
  if (auto note = ignored_offload_note(std::get<Resolved>(resolution))) a.warnings.push_back(std::move(*note));
  a.refusal = check_layout(facts, a.engine.parallel, request.vllm_version, &node);
  if (a.refusal) return a;
  const Model& model = *request.model;
  a.memory = plan_memory(model, a.engine, gpu);
  if (auto note = host_memory_note(a.memory)) a.warnings.push_back(std::move(*note));
  a.engine.max_model_len = a.memory.max_model_len;
  a.longest_model_len = largest_max_model_len(model, a.engine, gpu);
  auto low = a.engine;
  low.kv_cache_memory_bytes = gib(std::max(0.0, a.memory.kv_gib.lo)).value;
  if (a.longest_model_len) a.safe_model_len = largest_max_model_len(model, low, gpu);
  a.concurrency_at_mean = a.memory.concurrency_at(request.workload.isl.mean() + request.workload.osl.mean());
  a.recommended_gpu_memory_utilization = recommended_gpu_memory_utilization(model, a.engine, gpu);
  auto recommended = a.engine;
  recommended.gpu_memory_utilization = a.recommended_gpu_memory_utilization;
  a.kv_tokens_at_recommended = plan_memory(model, recommended, gpu).kv_tokens;
  const auto constants = constants_of(request.calibration.get(), model.shape_name());
  a.token_time = token_time(request, constants, a.engine);
  if (a.engine.num_speculative_tokens > 0 && !a.engine.draft_is_mtp())
    a.warnings.push_back("the draft model's own weights and KV cache are not counted");
  if (a.engine.parallel.gpus() > request.cluster.total_gpus())
    a.warnings.push_back(fmt::format("{} needs {} GPUs, the cluster has {}", to_string(a.engine.parallel),
                                     a.engine.parallel.gpus(), request.cluster.total_gpus()));
  for (auto& w : memory_what_if(model, a.engine, gpu))
    if (!check_layout(facts, w.engine.parallel, request.vllm_version, &node)) {
      const auto time = token_time(request, constants, w.engine);
      a.what_ifs.push_back({std::move(w), time});
    }
  return a;
}

}  // namespace shardwise
