#include "parallel/placement.h"

#include <algorithm>
#include <numeric>

#include "base/units.h"

namespace shardwise {
namespace {

/// GPUs still free, from index first_free on.
struct FreeNode {
  int node = 0;
  int first_free = 0;
  int usable = 0;
  int free() const { return usable - first_free; }
  std::vector<int> take(int count) {
    std::vector<int> devices(static_cast<std::size_t>(count));
    std::iota(devices.begin(), devices.end(), first_free);
    first_free += count;
    return devices;
  }
};

/// Whole ranks: `world` GPUs each, filling the nodes in order.
bool place_whole_ranks(std::vector<FreeNode*> nodes, int world, int dp, DeploymentPlacement& out) {
  // One node that holds them all is better than two that share them.
  const auto all = std::find_if(nodes.begin(), nodes.end(), [&](const FreeNode* n) { return n->free() >= world * dp; });
  if (all != nodes.end()) nodes = {*all};
  int ranks = 0;
  for (const FreeNode* node : nodes) ranks += node->free() / world;
  if (ranks < dp) return false;
  int next = 0;
  for (FreeNode* node : nodes) {
    const int here = std::min(node->free() / world, dp - next);
    if (here == 0) continue;
    out.shares.push_back({node->node, next, here, 0, node->take(here * world)});
    next += here;
  }
  return true;
}

/// Ranks that span nodes: every node gives the same number of GPUs (arg_utils.py: --nnodes divides the world evenly).
/// `to_come`: deployments of this size that are placed from now on; they must find room, too.
bool place_spanning_ranks(const std::vector<FreeNode*>& nodes, const ParallelConfig& parallel, int to_come,
                          DeploymentPlacement& out) {
  const int world = parallel.world_size(), dp = parallel.data_parallel_size, tp = parallel.tensor_parallel_size;
  int best = 0, best_grade = 0;
  for (int per_rank = 2; per_rank <= world && per_rank * dp <= static_cast<int>(nodes.size()); ++per_rank) {
    if (world % per_rank != 0) continue;
    const int local = world / per_rank;
    const auto able = std::count_if(nodes.begin(), nodes.end(), [&](const FreeNode* n) { return n->free() >= local; });
    if (able < per_rank * dp * to_come) continue;
    const int grade = local % tp == 0 ? 3 : tp % local == 0 ? 2 : 1;  // TP inside a node, TP over whole nodes, ragged
    if (grade > best_grade) best = per_rank, best_grade = grade;
  }
  if (best == 0) return false;
  const int local = world / best;
  int index = 0;
  for (FreeNode* node : nodes) {
    if (index == best * dp) break;
    if (node->free() < local) continue;
    out.shares.push_back({node->node, index / best, 1, index % best, node->take(local)});
    ++index;
  }
  out.nodes_per_dp_rank = best;
  return true;
}

}  // namespace

int Placement::gpus_used() const {
  std::size_t used = 0;
  for (const auto& replica : replicas)
    for (const auto& share : replica.shares) used += share.devices.size();
  return static_cast<int>(used);
}

std::variant<Placement, PlacementProblem> place(const Cluster& cluster, const ParallelConfig& parallel, int replicas) {
  std::vector<FreeNode> free_nodes;
  std::vector<std::string> kinds;
  for (std::size_t i = 0; i < cluster.nodes.size(); ++i) {
    const Node& node = cluster.nodes[i];
    free_nodes.push_back({static_cast<int>(i), 0, node.usable_gpus()});
    if (std::find(kinds.begin(), kinds.end(), node.gpu) == kinds.end()) kinds.push_back(node.gpu);
  }
  Placement placement;
  const int world = parallel.world_size();
  for (int replica = 0; replica < replicas; ++replica) {
    DeploymentPlacement deployment;
    for (const std::string& kind : kinds) {
      std::vector<FreeNode*> nodes;
      bool fits_one_node = false;
      for (FreeNode& node : free_nodes) {
        const Node& described = cluster.nodes[static_cast<std::size_t>(node.node)];
        if (described.gpu != kind) continue;
        nodes.push_back(&node);
        fits_one_node = fits_one_node || described.usable_gpus() >= world;
      }
      const bool placed = fits_one_node ? place_whole_ranks(nodes, world, parallel.data_parallel_size, deployment)
                                        : place_spanning_ranks(nodes, parallel, replicas - replica, deployment) ||
                                              place_spanning_ranks(nodes, parallel, 1, deployment);
      if (placed) break;
    }
    if (deployment.shares.empty()) {
      std::string message = to_string(parallel) + " needs " + std::to_string(parallel.gpus()) + " GPUs of one kind";
      if (replicas > 1) message += " for each of " + std::to_string(replicas) + " replicas";
      if (world > 1) message += ", every data-parallel rank inside a node or in equal shares over nodes";
      return PlacementProblem{message + "; " + cluster.name + " has no room left for it"};
    }
    placement.replicas.push_back(std::move(deployment));
  }
  return placement;
}

}  // namespace shardwise
