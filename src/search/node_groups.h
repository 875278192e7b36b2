#pragma once
// The nodes that a plan can use, and the engines that fit on them.
#include <map>
#include <optional>
#include <vector>

#include "hardware/hardware.h"

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

/// How an engine of `world_size` ranks lies on nodes of `gpus_per_node` GPUs.
struct EngineSpan {
  int nodes = 1;          ///< nodes that one engine spans
  int gpus_per_node = 0;  ///< of each of them
};
/// The fewest nodes that divide the engine evenly; nullopt if there is no such split.
std::optional<EngineSpan> engine_span(int world_size, int gpus_per_node, int max_nodes);
std::optional<EngineSpan> engine_span(const NodeGroup& group, int world_size);

/// Engines of `world_size` ranks that fit on the group side by side.
int engine_capacity(const NodeGroup& group, int world_size);

/// The same for a search, which asks of one group for every number of ranks.
class EngineRoom {
 public:
  explicit EngineRoom(const NodeGroup& group);
  std::optional<EngineSpan> span(int world_size) const;
  int capacity(int world_size) const;
  int largest() const { return nodes_with_.empty() ? 0 : nodes_with_.rbegin()->first; }  ///< free GPUs of a node

 private:
  std::map<int, int> nodes_with_;  ///< by free GPUs
  int nodes_ = 0;
};

}  // namespace shardwise
