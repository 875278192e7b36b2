#pragma once
// Questions a user asks after the first memory answer: the longest context, and what one change would give.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "memory/memory_plan.h"

namespace shardwise {

/// The largest max_model_len that starts, as `--max-model-len auto` finds it from the predicted memory; at most the
/// model's own limit; nullopt if not even one token fits.
std::optional<std::int64_t> largest_max_model_len(const Model& model, const EngineConfig& engine, const Gpu& gpu);

/// One change of the command and what it leads to.
struct MemoryWhatIf {
  std::string change;   ///< a flag ("--kv-cache-dtype fp8") or another layout ("TP1 x DP8 + EP8")
  EngineConfig engine;  ///< with the change
  MemoryPlan plan;
  double kv_gib_gain = 0;  ///< on the binding rank
  /// Of all engines together: data parallel ranks hold different requests.
  double max_concurrency() const { return plan.max_concurrency * engine.parallel.data_parallel_size; }
  std::int64_t kv_tokens() const { return plan.kv_tokens * engine.parallel.data_parallel_size; }
};

/// Changes that apply to this engine: fp8 KV, TP x 2, fewer batched tokens, decode context parallelism and attention
/// data parallelism where KV heads are replicated, eager mode. Legality beyond divisibility is for the rules to say.
std::vector<MemoryWhatIf> memory_what_if(const Model& model, const EngineConfig& engine, const Gpu& gpu);

/// Highest gpu_memory_utilization, in steps of 0.01, that leaves room for what is taken before vLLM starts, for graphs
/// that the version does not set aside, and for twice the deviation of what is not known.
double recommended_gpu_memory_utilization(const Model& model, const EngineConfig& engine, const Gpu& gpu);

}  // namespace shardwise
