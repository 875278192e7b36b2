#include "search/layout.h"

#include <algorithm>
#include <numeric>

#include "base/input_error.h"
#include "base/text.h"

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

EngineSpan engine_span(int world_size, int gpus_per_node, int max_nodes) {
  for (int nodes = 1; nodes <= max_nodes; ++nodes)
    if (world_size % nodes == 0 && world_size / nodes <= gpus_per_node) return {nodes, world_size / nodes};
  return {0, 0};
}

int engine_capacity(const NodeGroup& group, int world_size) {
  const int largest = *std::max_element(group.free_gpus.begin(), group.free_gpus.end());
  const auto span = engine_span(world_size, largest, static_cast<int>(group.free_gpus.size()));
  if (span.nodes == 0) return 0;
  if (span.nodes == 1) {
    int engines = 0;
    for (int free : group.free_gpus) engines += free / world_size;
    return engines;
  }
  const auto usable = std::count_if(group.free_gpus.begin(), group.free_gpus.end(),
                                    [&](int free) { return free >= span.gpus_per_node; });
  return static_cast<int>(usable) / span.nodes;
}

int complexity(const Layout& layout) {
  const auto& p = layout.parallel;
  return (p.data_parallel_size > 1 ? 1 : 0) + (p.enable_expert_parallel ? 2 : 0) + (layout.replicas > 1 ? 4 : 0) +
         (p.expert_placement_strategy != ExpertPlacement::linear ? 8 : 0) +
         (p.decode_context_parallel_size > 1 ? 16 : 0) + (p.pipeline_parallel_size > 1 ? 32 : 0) +
         (p.pp_layer_partition.empty() ? 0 : 64) + (p.prefill_context_parallel_size > 1 ? 128 : 0);
}

std::string to_string(const Layout& layout) {
  std::string text = to_string(layout.parallel);
  const auto& partition = layout.parallel.pp_layer_partition;
  if (!partition.empty()) {
    std::vector<std::string> counts;
    for (const int layers : partition) counts.push_back(std::to_string(layers));
    text += " (layers " +
            (counts.size() <= 4 ? join(counts, "+") : counts[0] + "+" + counts[1] + "+...+" + counts.back()) + ")";
  }
  if (layout.replicas > 1) text += " x " + std::to_string(layout.replicas) + " replicas";
  return text;
}

}  // namespace shardwise
