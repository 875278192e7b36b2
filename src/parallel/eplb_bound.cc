// What no placement of experts can beat.
#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <queue>

#include "parallel/eplb.h"
#include "parallel/eplb_index.h"

namespace shardwise {
namespace {

/// Share of the heaviest replica when `spare` replicas are given one by one to whatever is heaviest, which is the best
/// that can be done about it.
double heaviest_replica(std::span<const std::int64_t> counts, int spare) {
  std::priority_queue<std::pair<double, int>> shares;
  std::vector<int> copies(counts.size(), 1);
  for (int e = 0; e < static_cast<int>(counts.size()); ++e) shares.emplace(static_cast<double>(counts[at(e)]), e);
  for (; spare > 0; --spare) {
    const int e = shares.top().second;
    shares.pop();
    shares.emplace(static_cast<double>(counts[at(e)]) / ++copies[at(e)], e);
  }
  return shares.top().first;
}

/// Least load that the most loaded of one layer's GPUs can have.
double least_heaviest(std::span<const std::int64_t> counts, const EplbShape& s) {
  const int experts = static_cast<int>(counts.size()), spare = s.replicas - experts, slots = s.replicas / s.ranks;
  const double total = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
  std::vector<std::int64_t> sorted(counts.begin(), counts.end());
  std::sort(sorted.begin(), sorted.end(), std::greater<>());
  double floor = total / s.ranks;

  // The GPU with the heaviest replica has slots - 1 more; without spares no two of them are of one expert.
  double company = 0;
  for (int k = 0; k < slots - 1; ++k)
    company += spare == 0 ? static_cast<double>(sorted[at(experts - 1 - k)])
                          : static_cast<double>(sorted.back()) / (1 + spare);
  floor = std::max(floor, heaviest_replica(counts, spare) + company);

  // Of the k * ranks + 1 heaviest replicas, k + 1 share a GPU. Experts that are not replicated leave a replica of their
  // own weight, so the i-th heaviest replica weighs at least the (i + spare)-th heaviest expert.
  for (int k = 1; k < slots && k * s.ranks + spare < experts; ++k) {
    double weight = 0;
    for (int j = 0; j <= k; ++j) weight += static_cast<double>(sorted[at(k * s.ranks + spare - j)]);
    if (spare == 0)
      for (int j = 0; j < slots - k - 1; ++j) weight += static_cast<double>(sorted[at(experts - 1 - j)]);
    floor = std::max(floor, weight);
  }
  if (s.nodes == 1) return floor;

  // With one group a node, each group is a problem of its own. Else the heaviest group is with the lightest ones at
  // best, k + 1 of the k * nodes + 1 heaviest share a node, and each group's heaviest expert has that node's spares.
  const int group_size = experts / s.groups, gpus = s.ranks / s.nodes, per_node = s.groups / s.nodes;
  std::vector<double> groups;
  for (int g = 0; g < s.groups; ++g) {
    const auto members = counts.subspan(at(g * group_size), at(group_size));
    groups.push_back(static_cast<double>(std::accumulate(members.begin(), members.end(), std::int64_t{0})));
    floor = std::max(floor, per_node == 1 ? least_heaviest(members, {s.replicas / s.nodes, 1, 1, gpus})
                                          : heaviest_replica(members, spare / s.nodes));
  }
  std::sort(groups.begin(), groups.end(), std::greater<>());
  for (int k = 0; k < per_node; ++k) {
    double weight = std::accumulate(groups.end() - (per_node - k - 1), groups.end(), 0.0);
    for (int j = 0; j <= k; ++j) weight += groups[at(k * s.nodes - j)];
    floor = std::max(floor, weight / gpus);
  }
  return floor;
}

}  // namespace

double balancedness_bound(const ExpertLoads& loads, const EplbShape& given) {
  const auto s = effective_shape(given);
  double sum = 0;
  for (int l = 0; l < loads.layers; ++l) {
    const auto counts = loads.layer(l);
    const double total = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::int64_t{0}));
    const double floor = least_heaviest(counts, s);
    sum += floor > 0 ? std::min(1.0, total / s.ranks / floor) : 1.0;
  }
  return sum / loads.layers;
}

}  // namespace shardwise
