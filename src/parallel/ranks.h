#pragma once
// Process groups: which global ranks work together, and on which node and GPU each rank is.
#include <optional>
#include <string>
#include <vector>

#include "parallel/engine_config.h"
#include "parallel/resolve.h"

namespace shardwise {

/// One kind of group ("tp", "dcp", "pcp", "pp", "dp", "ep", "eplb"): lists of global ranks, groups and ranks in vLLM's
/// order.
struct RankGroup {
  std::string name;
  std::vector<std::vector<int>> groups;
};

struct RankGroups {
  int torch_world_size = 1;       ///< of one torch world; dense models under DP have one per replica
  std::vector<RankGroup> groups;  ///< ep only for MoE models, eplb only with EPLB
};

/// distributed/parallel_state.py initialize_model_parallel: ranks are DP x PP x PCP x TP, TP fastest.
RankGroups rank_groups(const ParallelConfig& parallel, bool is_moe, VllmVersion version = kDefaultVllmVersion);

/// A worker process: DP rank, CUDA index on its node, global rank and size of its torch world.
struct WorkerRank {
  int dp_rank = 0, device = 0, global_rank = 0, torch_world_size = 1;
  friend bool operator==(const WorkerRank&, const WorkerRank&) = default;
};

/// Workers that one node's command starts (mp and uni executors; Ray decides for itself when it starts).
std::vector<WorkerRank> worker_ranks(const Resolved& command);

}  // namespace shardwise
