#pragma once
// Which GPUs of a cluster a plan's ranks run on, as vLLM fills nodes.
#include <string>
#include <variant>
#include <vector>

#include "hardware/hardware.h"
#include "parallel/engine_config.h"

namespace shardwise {

/// What one node holds of one deployment: either whole data-parallel ranks, or an equal share of one rank that spans
/// nodes.
struct NodeShare {
  int node = 0;  ///< index in cluster.nodes
  int first_dp_rank = 0;
  int dp_ranks = 1;             ///< whole ranks here; 1 for a share of a rank that spans nodes
  int node_rank_within_dp = 0;  ///< 0 unless the rank spans nodes
  std::vector<int> devices;     ///< GPU indices on the node, in rank order
};

/// One `vllm serve` deployment. The first share is the head node.
struct DeploymentPlacement {
  std::vector<NodeShare> shares;
  int nodes_per_dp_rank = 1;  ///< above 1: tensor or pipeline parallel across nodes
};

struct Placement {
  std::vector<DeploymentPlacement> replicas;
  int gpus_used() const;
};

/// Why a plan cannot be laid out, in words.
struct PlacementProblem {
  std::string message;
};

/// Fills nodes in order; GPUs that are not available are the last ones of a node. A rank that fits in one node is never
/// split; one that does not takes equal shares of nodes of one kind, cut between pipeline stages where that is
/// possible. A deployment uses one kind of GPU. Replicas prefer a node that holds a whole one.
std::variant<Placement, PlacementProblem> place(const Cluster& cluster, const ParallelConfig& parallel,
                                                int replicas = 1);

}  // namespace shardwise
