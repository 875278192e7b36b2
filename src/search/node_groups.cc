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
  for (int nodes = 1; nodes <= max_nodes; ++nodes)
    if (world_size % nodes == 0 && world_size / nodes <= gpus_per_node) return EngineSpan{nodes, world_size / nodes};
  return std::nullopt;
}

std::optional<EngineSpan> engine_span(const NodeGroup& group, int world_size) {
  const int largest = *std::max_element(group.free_gpus.begin(), group.free_gpus.end());
  return engine_span(world_size, largest, static_cast<int>(group.free_gpus.size()));
}

int engine_capacity(const NodeGroup& group, int world_size) {
  const auto span = engine_span(group, world_size);
  if (!span) return 0;
  if (span->nodes == 1) {
    int engines = 0;
    for (int free : group.free_gpus) engines += free / world_size;
    return engines;
  }
  const auto usable = std::count_if(group.free_gpus.begin(), group.free_gpus.end(),
                                    [&](int free) { return free >= span->gpus_per_node; });
  return static_cast<int>(usable) / span->nodes;
}

}  // namespace shardwise
