#pragma once
// Questions a user asks after the first memory answer: the longest context, and what one change would give.
#include <cstdint>
#include <string>
#include <vector>

#include "memory/memory_plan.h"

namespace shardwise {

/// The largest max_model_len that starts, as `--max-model-len auto` finds it from the predicted memory; at most the
/// model's own limit. 0 if not even one token fits.
std::int64_t largest_max_model_len(const Model& model, const EngineConfig& engine, const Gpu& gpu);

/// One change of the command and what it leads to.
struct MemoryWhatIf {
  std::string change;   ///< in vLLM's words: "kv_cache_dtype=fp8"
  EngineConfig engine;  ///< with the change
  MemoryPlan plan;
  double kv_gib_gain = 0;       ///< on the binding rank, GiB
  double concurrency_gain = 0;  ///< max_concurrency, new / old; 0 where the old one is 0
};

/// Changes that apply to this engine: fp8 KV, TP x 2, fewer batched tokens, decode context parallelism and attention
/// data parallelism where KV heads are replicated, eager mode. Legality beyond divisibility is for the rules to say.
std::vector<MemoryWhatIf> memory_what_if(const Model& model, const EngineConfig& engine, const Gpu& gpu);

/// Highest gpu_memory_utilization, in steps of 0.01, whose start is safe against the unknown part of the memory outside
/// KV (95 %): what vLLM may take plus two deviations must stay below the GPU's total.
double recommended_gpu_memory_utilization(const Model& model, const EngineConfig& engine, const Gpu& gpu);

}  // namespace shardwise
