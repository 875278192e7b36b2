#include "search/node_groups.h"

#include <algorithm>
#include <numeric>

#include "base/input_error.h"

namespace shardwise {

int NodeGroup::total() const { return std::accumulate(free_gpus.begin(), free_gpus.end(), 0); }

std::vector<NodeGroup> node_groups(const Cluster& cluster, const std::vector<int>& gpus_taken) {
  std::vector<NodeGroup> groups;
  for (std::size_t i = 0; i < cluster.nodes.size(); ++i) {
    const auto& node = cluster.nodes[i];
    auto it = std::find_if(groups.begin(), groups.end(),
                           [&](const NodeGroup& g) { return g.cluster.nodes.front().gpu == node.gpu; });
    if (it == groups.end()) {
      it = groups.insert(groups.end(), NodeGroup{});
      it->cluster.name = cluster.name;
      it->cluster.gpus = {{node.gpu, cluster.gpu(node)}};
    }
    const int taken = i < gpus_taken.size() ? gpus_taken[i] : 0;
    if (taken < 0 || taken > node.usable_gpus())
      throw InputError("--gpus-taken", 0, "",
                       "node " + std::to_string(i) + " has " + std::to_string(node.usable_gpus()) + " GPUs, not " +
                           std::to_string(taken),
                       "name at most that many");
    it->cluster.nodes.push_back(node);
    it->node_index.push_back(static_cast<int>(i));
    it->free_gpus.push_back(node.usable_gpus() - taken);
  }
  return groups;
}

std::optional<EngineSpan> engine_span(int world_size, int gpus_per_node, int max_nodes) {
  for (int per_node = std::min(gpus_per_node, world_size); per_node > 0; --per_node)
    if (world_size % per_node == 0) {
      if (world_size / per_node > max_nodes) return std::nullopt;
      return EngineSpan{world_size / per_node, per_node};
    }
  return std::nullopt;
}

EngineRoom::EngineRoom(const NodeGroup& group) : nodes_(static_cast<int>(group.free_gpus.size())) {
  for (const int free : group.free_gpus) ++nodes_with_[free];
}

std::optional<EngineSpan> EngineRoom::span(int world_size) const { return engine_span(world_size, largest(), nodes_); }

int EngineRoom::capacity(int world_size) const {
  const auto needed = span(world_size);
  if (!needed) return 0;
  int engines = 0;  // on one node each, or parts of engines
  for (const auto& [free, nodes] : nodes_with_)
    engines += nodes * (needed->nodes == 1 ? free / world_size : free >= needed->gpus_per_node);
  return engines / needed->nodes;
}

std::optional<EngineSpan> engine_span(const NodeGroup& group, int world_size) {
  return EngineRoom(group).span(world_size);
}
int engine_capacity(const NodeGroup& group, int world_size) { return EngineRoom(group).capacity(world_size); }

}  // namespace shardwise
