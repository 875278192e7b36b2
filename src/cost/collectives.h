#pragma once
// Time of one collective by group size and link class: the custom all-reduce or NCCL inside a node, both levels across.
#include "cost/kernel_tables.h"
#include "hardware/hardware.h"

namespace shardwise {

/// Where the ranks of one communicator sit.
struct CollectiveGroup {
  int size = 1;
  int nodes = 1;                 ///< nodes the group spans
  double link_bandwidth = 0;     ///< bytes/s per GPU, one direction, inside a node
  double network_bandwidth = 0;  ///< bytes/s per GPU to other nodes
  double network_latency = 0;    ///< s
  bool switched = true;          ///< NVLink or xGMI rather than PCIe: custom all-reduce for any size of group
};

/// `bytes`: the whole buffer (all-reduce: of one rank; all-gather: the result; reduce-scatter: the input).
double collective_seconds(const KernelTables& tables, const CollectiveGroup& group, Collective what, double bytes);

/// Group of `size` ranks `stride` apart on nodes of `gpus_per_node`.
CollectiveGroup rank_group(const Cluster& cluster, int gpus_per_node, int size, int stride);

/// Seconds to send `bytes` between two ranks `distance` apart, the first of them at `rank`.
double send_seconds(const Cluster& cluster, int gpus_per_node, int rank, int distance, double bytes);

}  // namespace shardwise
