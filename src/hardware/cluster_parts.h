#pragma once
// What the cluster string and the cluster file readers share.
#include <optional>

#include "hardware/hardware.h"

namespace shardwise {

inline constexpr int kMaxNodes = 16384;
inline constexpr int kMaxGpusPerNode = 1024;

/// default_node, with the network per GPU replaced where given (Gbit/s).
Node node_with_network(const Gpu& gpu, int gpus, std::optional<double> gbits_per_gpu);

/// Which parts of a node were filled in.
struct NodeDefaults {
  bool scale_up = false, network = false, numa = false;
};
void add_defaults(Cluster& cluster, const Node& node, const NodeDefaults& defaulted, const std::string& reason);
/// The reason for what such servers usually have.
std::string usual_for(const Node& node);

}  // namespace shardwise
