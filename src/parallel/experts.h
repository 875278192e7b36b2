#pragma once
// Which expert lives on which rank.
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "parallel/engine_config.h"

namespace shardwise {

/// Physical experts first, first + step, ... (count of them), in local order.
struct ExpertRun {
  int first = 0, step = 1, count = 0;
};

struct ExpertRank {
  int ep_rank = 0, moe_tp_rank = 0;
  ExpertRun experts;
};

/// How one MoE layer is split, after vLLM's fallbacks.
struct ExpertMap {
  bool use_ep = false;
  int ep_size = 1;      ///< ranks that hold whole experts
  int moe_tp_size = 1;  ///< ranks that share every expert when EP is off: TP x PCP x DP
  ExpertPlacement effective = ExpertPlacement::linear;
  std::string all2all_backend;  ///< after naive and pplx are replaced
  bool use_all2all_kernels = false, sequence_parallel = false;
  int num_physical = 0;  ///< logical + redundant
  bool routing_tables = false;
  std::vector<int> global_to_physical;  ///< with routing tables: position of every logical expert, ranks concatenated
  std::vector<ExpertRank> ranks;        ///< order DP, PCP, TP
};

/// vLLM refuses: exception class and message (fused_moe/layer.py, expert_map_manager.py).
struct ExpertMapError {
  std::string error, message;
};

/// Maps of all ranks of TP x PCP x DP. `num_expert_group` = groups of grouped top-k, nullopt = ungrouped.
std::variant<ExpertMap, ExpertMapError> expert_map(const ParallelConfig& parallel, int num_experts,
                                                   std::optional<int> num_expert_group,
                                                   VllmVersion version = kDefaultVllmVersion);

/// Backends under which EP with TP and DP runs the MoE on sequence shards (ParallelConfig.use_sequence_parallel_moe).
bool sequence_parallel_backend(std::string_view all2all_backend, VllmVersion version);

}  // namespace shardwise
