#include "parallel/engine_config.h"

#include <cassert>

namespace shardwise {

std::vector<std::pair<int, int>> pp_layers(int num_hidden_layers, const ParallelConfig& parallel) {
  const int stages = parallel.pipeline_parallel_size;
  assert(stages >= 1 && num_hidden_layers >= 0);
  std::vector<int> sizes = parallel.pp_layer_partition;
  if (sizes.empty()) {
    sizes.assign(static_cast<std::size_t>(stages), num_hidden_layers / stages);
    // The rest goes to the last stage but one and backwards from there (distributed/utils.py get_pp_indices).
    for (int i = 0; i < num_hidden_layers % stages; ++i) ++sizes[static_cast<std::size_t>(stages - 2 - i)];
  }
  std::vector<std::pair<int, int>> out;
  int start = 0;
  for (const int size : sizes) {
    out.emplace_back(start, start + size);
    start += size;
  }
  return out;
}

std::string to_string(const ParallelConfig& p) {
  std::string out = "TP" + std::to_string(p.tensor_parallel_size);
  auto times = [&](const char* name, int n) {
    if (n > 1) out += " x " + std::string(name) + std::to_string(n);
  };
  times("PP", p.pipeline_parallel_size);
  times("PCP", p.prefill_context_parallel_size);
  times("DP", p.data_parallel_size);
  if (p.decode_context_parallel_size > 1) out += " (DCP" + std::to_string(p.decode_context_parallel_size) + ")";
  if (p.enable_expert_parallel) {
    out += " + EP" + std::to_string(p.expert_parallel_size());
    if (p.expert_placement_strategy == ExpertPlacement::round_robin) out += " round_robin";
    if (p.enable_eplb) out += " EPLB";
    if (p.num_redundant_experts > 0) out += " +" + std::to_string(p.num_redundant_experts);
  }
  return out;
}

}  // namespace shardwise
