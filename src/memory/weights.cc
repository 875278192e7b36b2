#include "memory/weights.h"

#include <memory>
#include <mutex>
#include <unordered_map>

#include "config/json.h"
#include "memory/weight_program.h"

namespace shardwise {

std::shared_ptr<const WeightProgram> weight_program(const Model& model) {
  // One program per config that is alive: the key is the parsed config itself, which copies of a Model share.
  struct Entry {
    std::weak_ptr<const Json> config;
    std::shared_ptr<const WeightProgram> program;
  };
  static std::mutex mutex;
  static std::unordered_map<const Json*, Entry> entries;
  thread_local const Json* last_config = nullptr;
  thread_local std::weak_ptr<const Json> last_alive;
  thread_local std::shared_ptr<const WeightProgram> last_program;
  const Json* key = model.config.get();
  if (key && key == last_config && !last_alive.expired() && last_alive.lock() == model.config) return last_program;
  std::shared_ptr<const WeightProgram> program;
  {
    std::lock_guard lock(mutex);
    const auto it = entries.find(key);
    if (key && it != entries.end() && it->second.config.lock() == model.config) program = it->second.program;
  }
  if (!program) {
    program = std::make_shared<const WeightProgram>(compile_weights(model));
    if (!key) return program;
    std::lock_guard lock(mutex);
    for (auto it = entries.begin(); it != entries.end();) it = it->second.config.expired() ? entries.erase(it) : std::next(it);
    entries[key] = {model.config, program};
  }
  last_config = key;
  last_alive = model.config;
  last_program = program;
  return program;
}

WeightLayout weight_layout(const Model& model, const EngineConfig& engine, int rank, int compute_capability) {
  const ParallelConfig& p = engine.parallel;
  const int tp = p.tensor_parallel_size, pcp = p.prefill_context_parallel_size, pp = p.pipeline_parallel_size;
  const int tp_rank = rank % tp, pcp_rank = rank / tp % pcp, pp_rank = rank / (tp * pcp) % pp, dp_rank = rank / (tp * pcp * pp);
  const auto stages = pp_layers(model.num_hidden_layers(), p);
  const auto [first, last] = stages[static_cast<std::size_t>(pp_rank)];
  WeightLayout l;
  l.tp = tp;
  l.first_layer = first;
  l.last_layer = last;
  l.first_stage = pp_rank == 0;
  l.last_stage = pp_rank == pp - 1;
  const int moe_ranks = tp * pcp * p.data_parallel_size;
  l.expert_parallel = p.enable_expert_parallel && moe_ranks > 1;
  l.moe_tp = l.expert_parallel ? 1 : moe_ranks;
  l.ep_size = l.expert_parallel ? moe_ranks : 1;
  l.ep_rank = l.expert_parallel ? (dp_rank * pcp + pcp_rank) * tp + tp_rank : 0;
  l.sequence_parallel_moe = p.enable_expert_parallel && tp > 1 && p.data_parallel_size > 1;
  l.redundant_experts = p.enable_eplb ? p.num_redundant_experts : 0;
  l.enable_eplb = p.enable_eplb;
  l.prefill_context_parallel = pcp;
  l.compute_capability = compute_capability;
  l.max_num_batched_tokens = engine.max_num_batched_tokens;
  l.max_model_len = engine.max_model_len;
  l.language_model_only = engine.language_model_only;
  return l;
}

WeightBytes rank_weights(const Model& model, const EngineConfig& engine, int rank, int compute_capability) {
  const auto program = weight_program(model);
  const RankWeights w = run_weights(*program, weight_layout(model, engine, rank, compute_capability));
  const auto of = [&](WeightClass c) { return Bytes(w.bytes[static_cast<std::size_t>(c)]); };
  WeightBytes out;
  out.embedding = of(WeightClass::embedding);
  out.lm_head = of(WeightClass::lm_head);
  out.attention = of(WeightClass::attention);
  out.dense_mlp = of(WeightClass::dense_mlp);
  out.routed_experts = of(WeightClass::routed_experts);
  out.shared_experts = of(WeightClass::shared_experts);
  out.router = of(WeightClass::router);
  out.norm_other = of(WeightClass::norm_other);
  out.vision = of(WeightClass::vision);
  out.mtp = of(WeightClass::mtp);
  out.buffers = Bytes(w.buffer_bytes() + w.bare_tensors);
  return out;
}

}  // namespace shardwise
