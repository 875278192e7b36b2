#pragma once
// `memory`: what every rank of a vLLM command holds, what is left for KV, and what would change it.
#include "app/check.h"
#include "memory/what_if.h"

namespace shardwise {

struct MemoryAnswer {
  CheckRequest request;
  std::optional<Refusal> refusal;
  EngineConfig engine;
  MemoryPlan memory;
  std::int64_t longest_model_len = 0;             ///< the largest max_model_len that starts; 0: none does
  std::int64_t safe_model_len = 0;                ///< the largest at the low end of the KV memory's interval
  double concurrency_at_mean = 0;                 ///< requests of the workload's mean length at once, per engine
  double recommended_gpu_memory_utilization = 0;  ///< the highest that is safe
  std::int64_t kv_tokens_at_recommended = 0;      ///< of one engine
  std::vector<MemoryWhatIf> what_ifs;             ///< those that vLLM accepts
  std::vector<std::string> warnings;
};

MemoryAnswer memory_answer(const CheckRequest& request);

}  // namespace shardwise
