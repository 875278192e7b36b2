#pragma once
// A layout is where a plan puts its GPUs: parallel sizes, separate deployments, and the nodes they sit on.
#include <compare>
#include <string>
#include <vector>

#include "hardware/hardware.h"
#include "model/model.h"
#include "parallel/engine_config.h"

namespace shardwise {

/// Nodes of one GPU kind; a deployment never mixes kinds.
struct NodeGroup {
  Cluster cluster;              ///< those nodes alone
  std::vector<int> node_index;  ///< their positions in the whole cluster
  std::vector<int> free_gpus;   ///< usable GPUs of each, those already taken aside
  int total() const;
};

/// Groups in order of first appearance. `gpus_taken[i]` GPUs of node i are in use by others (missing = 0).
std::vector<NodeGroup> node_groups(const Cluster& cluster, const std::vector<int>& gpus_taken);

/// One plan's shape. `parallel` describes one deployment; `replicas` of them stand behind a router.
struct Layout {
  int group = 0;
  ParallelConfig parallel;
  int replicas = 1;
  int gpus() const { return parallel.gpus() * replicas; }
  friend bool operator==(const Layout&, const Layout&) = default;
};

/// How an engine of `world_size` ranks lies on nodes of `gpus_per_node` GPUs.
struct EngineSpan {
  int nodes = 1;          ///< nodes that one engine spans
  int gpus_per_node = 0;  ///< of each of them
};
/// The fewest nodes that divide the engine evenly; nodes = 0 if there is no such split.
EngineSpan engine_span(int world_size, int gpus_per_node, int max_nodes);

/// Engines of `world_size` ranks that fit on the group side by side.
int engine_capacity(const NodeGroup& group, int world_size);

/// 0 = tensor parallel only, then data parallel, expert parallel, replicas, context parallel, pipeline: what breaks
/// ties.
int complexity(const Layout& layout);

/// "TP2 x DP4", "TP8 x PP2 x 2 replicas": canonical, used as the last tie-break and as the plan's id.
std::string to_string(const Layout& layout);

}  // namespace shardwise
