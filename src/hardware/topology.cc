// Usual servers for a GPU, and which link a message takes.
#include <algorithm>
#include <cassert>
#include <tuple>

#include "base/input_error.h"
#include "base/text.h"
#include "config/quantity.h"
#include "hardware/hardware.h"

namespace shardwise {

int Cluster::total_gpus() const {
  int total = 0;
  for (const Node& node : nodes) total += node.usable_gpus();
  return total;
}

bool Cluster::homogeneous() const {
  return std::all_of(nodes.begin(), nodes.end(), [&](const Node& node) {
    if (node.address == nodes.front().address) return node == nodes.front();
    Node moved = node;
    moved.address = nodes.front().address;
    return moved == nodes.front();
  });
}

void take_memory(Cluster& cluster, Bytes taken, const std::string& flag) {
  for (auto& [name, gpu] : cluster.gpus) {
    if (taken >= gpu.memory_total)
      throw InputError(flag, 0, "", name + " has " + bytes_text(gpu.memory_total) + ", of which nothing would be left",
                       "what others hold on each GPU, as in 4GiB");
    gpu.memory_taken = taken;
  }
}

Node default_node(const Gpu& gpu, int gpu_count) {
  Node node;
  node.gpu = gpu.name;
  node.gpus = gpu_count;
  // Servers with more than four GPUs have two CPU sockets, each with half of them.
  node.numa_domains = gpu_count > 4 ? 2 : 1;

  const std::string slot = "PCIe " + gpu.pcie + (gpu.pcie_peer_to_peer ? "" : " via host");
  node.pcie = find_link(slot).link;
  const std::string generation = gpu.pcie.substr(0, gpu.pcie.find(' '));
  node.pcie_cross_numa = find_link("cross-NUMA " + generation).link;
  node.pcie_cross_numa.bandwidth = std::min(node.pcie_cross_numa.bandwidth, node.pcie.bandwidth);
  node.pcie_cross_numa.latency = std::max(node.pcie_cross_numa.latency, node.pcie.latency);

  if (gpu.scale_up && gpu.scale_up->domain > 1) {
    node.scale_up = find_link(gpu.scale_up->name).link;
    node.scale_up.bandwidth = gpu.scale_up->bandwidth;
    node.scale_up_domain = gpu.scale_up->domain;
  } else {
    node.scale_up = node.pcie;
    node.scale_up_domain = static_cast<int>(ceil_div(gpu_count, node.numa_domains));
  }

  const LinkRow& port = find_link(gpu.network);
  node.nics = static_cast<int>(ceil_div(gpu_count, gpu.gpus_per_nic));
  node.network = port.link;
  node.network.bandwidth = port.link.bandwidth * (static_cast<double>(node.nics) / gpu_count);
  return node;
}

namespace {

/// Index of a GPU among all GPUs of the run of equal nodes that it belongs to (an NVL72 domain spans nodes of one
/// kind).
int index_in_run(const Cluster& cluster, GpuAt at) {
  int first = at.node;
  while (
      first > 0 &&
      cluster.nodes[static_cast<std::size_t>(first) - 1].gpu == cluster.nodes[static_cast<std::size_t>(at.node)].gpu &&
      cluster.nodes[static_cast<std::size_t>(first) - 1].gpus == cluster.nodes[static_cast<std::size_t>(at.node)].gpus)
    --first;
  return (at.node - first) * cluster.nodes[static_cast<std::size_t>(at.node)].gpus + at.gpu;
}

int numa_domain(const Node& node, int gpu) {
  return gpu / static_cast<int>(ceil_div(node.gpus, std::max(1, node.numa_domains)));
}

}  // namespace

const Link& link_between(const Cluster& cluster, GpuAt a, GpuAt b) {
  const Node& node = cluster.nodes[static_cast<std::size_t>(a.node)];
  const Node& other = cluster.nodes[static_cast<std::size_t>(b.node)];
  if (a.node == b.node) {
    if (a.gpu / node.scale_up_domain == b.gpu / node.scale_up_domain || node.scale_up_domain >= node.gpus)
      return node.scale_up;
    return numa_domain(node, a.gpu) == numa_domain(node, b.gpu) ? node.pcie : node.pcie_cross_numa;
  }
  if (node.scale_up_domain > node.gpus && node.gpu == other.gpu && node.gpus == other.gpus) {
    const int index_a = index_in_run(cluster, a), index_b = index_in_run(cluster, b);
    const bool one_run = std::abs(index_a - index_b) == std::abs((a.node - b.node) * node.gpus + a.gpu - b.gpu);
    if (one_run && index_a / node.scale_up_domain == index_b / node.scale_up_domain) return node.scale_up;
  }
  // The slower of the two; the same one from either end.
  const auto worse = [](const Link& l) { return std::tuple(-l.bandwidth.value, l.latency.value, l.name); };
  return worse(node.network) >= worse(other.network) ? node.network : other.network;
}

const Link* slowest_link(const Cluster& cluster, const std::vector<GpuAt>& group) {
  const Link* slowest = nullptr;
  for (std::size_t i = 0; i < group.size() && group.size() > 1; ++i) {
    const Link& link = link_between(cluster, group[i], group[(i + 1) % group.size()]);
    if (!slowest || link.bandwidth < slowest->bandwidth ||
        (link.bandwidth == slowest->bandwidth && link.latency > slowest->latency))
      slowest = &link;
  }
  return slowest;
}

}  // namespace shardwise
