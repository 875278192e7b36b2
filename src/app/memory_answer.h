#pragma once
// `memory`: what every rank of a vLLM command holds, what is left for KV, and what would change it.
#include "app/check.h"

namespace shardwise {

/// One changed setting and the memory it leads to.
struct MemoryWhatIf { std::string what; MemoryPlan memory; std::int64_t gained_tokens = 0; };

struct MemoryAnswer {
  CheckRequest request;
  std::optional<Refusal> refusal;
  EngineConfig engine;
  MemoryPlan memory;
  std::optional<std::int64_t> longest_model_len;   ///< the largest max_model_len that starts; nullopt: none does
  double concurrency_at_mean = 0;                  ///< requests of the workload's mean length at once, per engine
  std::optional<double> recommended_gpu_memory_utilization;  ///< the least that gives this KV memory with 95 % confidence
  std::vector<MemoryWhatIf> what_ifs;
  std::vector<std::string> warnings;
};

MemoryAnswer memory_answer(const CheckRequest& request);

}  // namespace shardwise
