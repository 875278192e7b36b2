#include "parallel/engine_config.h"

#include <cassert>

namespace shardwise {

const char* to_string(ExpertPlacement placement) {
  return placement == ExpertPlacement::linear ? "linear" : "round_robin";
}

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

}  // namespace shardwise
