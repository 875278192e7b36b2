#include "cost/collectives.h"

#include <algorithm>
#include <cmath>

#include "cost/constants.h"

namespace shardwise {
namespace {

/// vLLM's custom all-reduce takes messages up to 8 MiB (distributed/device_communicators/custom_all_reduce.py).
constexpr double kCustomLimit = 8.0 * 1024 * 1024;

/// Curve of the next tabulated group size, and the share of work against it: (n-1)/n of the bytes move.
double curve_seconds(const std::map<int, Curve>& curves, int n, double bytes) {
  auto it = curves.lower_bound(n);
  if (it == curves.end()) it = std::prev(curves.end());
  const double have = it->first, share = n > it->first ? ((n - 1.0) / n) / ((have - 1) / have) : 1.0;
  const double extra_steps = n > it->first ? std::log2(n / have) * 2e-6 : 0.0;
  return it->second.seconds(bytes * share) + extra_steps;
}

double inside_node(const KernelTables& t, const CollectiveGroup& g, int n, Collective what, double bytes) {
  if (n <= 1) return 0;
  const double scaled = bytes * t.link / std::max(g.link_bandwidth, 1.0);  // a slower link is a longer message
  const auto& custom = t.collectives[static_cast<std::size_t>(Collective::custom_allreduce)];
  const bool has_custom =
      what == Collective::all_reduce && !custom.empty() && (g.switched || n == 2) && (n <= 8 || g.switched);
  const auto& nccl = t.collectives[static_cast<std::size_t>(what)];
  const double ring = nccl.empty() ? 1e9 : curve_seconds(nccl, n, scaled);
  if (!has_custom) return ring;
  const double own = curve_seconds(custom, n, scaled);
  return bytes <= kCustomLimit || own <= ring ? own : ring;
}

}  // namespace

double collective_seconds(const KernelTables& t, const CollectiveGroup& g, Collective what, double bytes) {
  if (g.size <= 1) return 0;
  if (g.nodes <= 1) return inside_node(t, g, g.size, what, bytes);
  const int per_node = std::max(1, g.size / g.nodes);
  // Inside each node first, then between nodes with every GPU on its own rail.
  const double inside = inside_node(t, g, per_node, what, bytes);
  const double nodes = g.nodes;
  const double moved = (what == Collective::all_reduce ? 2.0 : 1.0) * (nodes - 1) / nodes * bytes / per_node;
  const double steps = (what == Collective::all_reduce ? 2.0 : 1.0) * std::ceil(std::log2(nodes));
  return inside + (moved / (fixed::network_efficiency.value * std::max(g.network_bandwidth, 1.0)) +
                   steps * (g.network_latency + fixed::network_step.value));
}

CollectiveGroup rank_group(const Cluster& cluster, int gpus_per_node, int size, int stride) {
  const auto& node = cluster.nodes.front();
  CollectiveGroup g;
  g.size = size;
  const int span = (size - 1) * stride + 1;
  const int nodes = static_cast<int>(ceil_div(span, std::max(1, gpus_per_node)));
  g.nodes = std::min(size, std::max(1, nodes));
  g.link_bandwidth = node.scale_up.bandwidth.value;
  g.network_bandwidth = node.network.bandwidth.value;
  g.network_latency = node.network.latency.value;
  g.switched = node.scale_up.kind == LinkClass::scale_up;
  return g;
}

double send_seconds(const Cluster& cluster, int gpus_per_node, int rank, int distance, double bytes) {
  const auto& node = cluster.nodes.front();
  const bool same = rank / std::max(1, gpus_per_node) == (rank + distance) / std::max(1, gpus_per_node);
  const Link& link = same ? node.scale_up : node.network;
  return fixed::pp_transfer.value + link.latency.value + bytes / (0.8 * std::max(link.bandwidth.value, 1.0));
}

}  // namespace shardwise
