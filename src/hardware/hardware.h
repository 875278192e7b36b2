#pragma once
// GPUs, nodes and the links between them. Values only; the catalogue is data/gpus and data/links.
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"
#include "hardware/host_name.h"

namespace shardwise {

enum class GpuDType { fp32, tf32, fp16, bf16, fp8, int8, fp4 };

/// NVLink or xGMI of a GPU.
struct ScaleUp {
  std::string name;          ///< NVLink4, xGMI3 ...
  BytesPerSecond bandwidth;  ///< per GPU, one direction
  int domain = 1;            ///< GPUs that reach each other at that speed in the usual node (8; 72 for NVL72)
  friend bool operator==(const ScaleUp&, const ScaleUp&) = default;
};

/// One GPU product. Figures are the vendor's dense ones (no sparsity); `source` and `date` say where they were read.
struct Gpu {
  std::string name;                 ///< "H100-SXM"; aliases are in the catalogue
  std::string vendor;               ///< nvidia | amd
  std::string architecture;         ///< Hopper, Blackwell, Ada, CDNA3 ...
  int compute_capability = 0;       ///< 90 = 9.0; AMD: of the architecture, gfx942 = 9.4, gfx1100 = 11.0
  Bytes memory_nominal;             ///< marketing size
  Bytes memory_total;               ///< what the driver and vLLM report (H100-80: 79.18 GiB)
  std::string memory_total_source;  ///< where the previous number comes from; says if estimated
  BytesPerSecond memory_bandwidth;
  std::map<GpuDType, FlopsPerSecond> peak;       ///< dense; absent = no hardware support
  std::optional<ScaleUp> scale_up;               ///< nullopt: PCIe alone
  BytesPerSecond pcie_bandwidth;                 ///< one direction
  std::string pcie;                              ///< "gen5 x16"
  std::optional<BytesPerSecond> host_bandwidth;  ///< one direction, of a coherent link to the CPU; nullopt: PCIe
  Bytes l2_cache;
  int sm_count = 0;
  Watts power;
  std::string network;            ///< usual network of such a server, a row of data/links: "InfiniBand NDR 400"
  int gpus_per_nic = 1;           ///< GPUs that usually share one network port
  bool pcie_peer_to_peer = true;  ///< false: GeForce; messages over PCIe go through host memory
  std::string source, date;
  Bytes memory_taken;  ///< on each such GPU, by others: a desktop, another server
  /// What start-up logs of this machine say beside the built-in figures: GiB more (or less) for the KV cache, and the
  /// deviation of what is then left. No cluster file states it.
  struct KvCorrection {
    double gib = 0, sd = 0;
    friend bool operator==(const KvCorrection&, const KvCorrection&) = default;
  };
  std::optional<KvCorrection> kv_correction;
  int scale_up_domain() const { return scale_up ? scale_up->domain : 1; }
  friend bool operator==(const Gpu&, const Gpu&) = default;
};

enum class LinkClass { scale_up, pcie, pcie_cross_numa, network };

/// One class of link, for messages between two GPUs.
struct Link {
  std::string name;  ///< "NVLink4", "PCIe gen4 x16", "InfiniBand NDR 400"
  LinkClass kind = LinkClass::scale_up;
  BytesPerSecond bandwidth;  ///< one direction, per GPU
  Seconds latency;           ///< one message
  friend bool operator==(const Link&, const Link&) = default;
};

struct Node {
  std::string gpu;  ///< catalogue name
  int gpus = 0;
  int numa_domains = 1;
  Link scale_up;  ///< inside the node's fast domain (may be PCIe)
  Link network;   ///< to other nodes, per GPU
  int nics = 0;
  std::optional<Dollars> price_per_gpu_hour;
  std::optional<int> available;  ///< GPUs that a plan may use; nullopt = all. The others are taken
  int scale_up_domain =
      1;                 ///< GPUs that reach each other through `scale_up`, counted from the first GPU of the cluster's
                         ///< run of such nodes: 8 in an HGX node, 2 with a bridge, 72 across the nodes of an NVL72
  Link pcie;             ///< between GPUs of one node outside a scale-up domain, same NUMA domain
  Link pcie_cross_numa;  ///< the same across NUMA domains
  std::optional<HostName> address;  ///< for launch commands
  int usable_gpus() const { return available.value_or(gpus); }
  friend bool operator==(const Node&, const Node&) = default;
};

/// A value that the user did not give, for "defaults are printed with every answer".
struct ClusterDefault {
  std::string name;    ///< "network"
  std::string value;   ///< "InfiniBand NDR 400, 50 GB/s per GPU, 5 us"
  std::string reason;  ///< "usual for H100-SXM servers"
};

/// Nodes in order; equal nodes are listed one by one.
struct Cluster {
  std::string name;  ///< as the user wrote it, canonical
  std::vector<Node> nodes;
  std::map<std::string, Gpu> gpus;       ///< every GPU kind that `nodes` name (catalogue or the user's own)
  std::vector<ClusterDefault> defaults;  ///< what was filled in; no part of the value (== ignores it)

  int total_gpus() const;    ///< usable ones
  bool homogeneous() const;  ///< all nodes alike (addresses aside)
  const Gpu& gpu(const Node& node) const { return gpus.at(node.gpu); }
  const Gpu& first_gpu() const { return gpus.at(nodes.front().gpu); }
  friend bool operator==(const Cluster& a, const Cluster& b) {
    return a.name == b.name && a.nodes == b.nodes && a.gpus == b.gpus;
  }
};

/// Catalogue row by name or alias; InputError with a spelling hint otherwise.
const Gpu& find_gpu(std::string_view name);
const std::vector<Gpu>& gpu_catalogue();
/// Other names of a catalogue row, the one used in cluster strings first; empty for a GPU of the user's own.
std::vector<std::string> gpu_aliases(std::string_view name);

/// A row of data/links: bandwidth per port or slot, one direction.
struct LinkRow {
  Link link;
  std::vector<std::string> aliases;
  std::string source, date;
};
const std::vector<LinkRow>& link_catalogue();
/// Link row by name or alias (case, spaces and '-' ignored); InputError with a spelling hint otherwise.
const LinkRow& find_link(std::string_view name);

/// A node with the usual links, NUMA domains and network of servers with that GPU.
Node default_node(const Gpu& gpu, int gpus);

/// A row of data/instances: a cloud's machine, with the GPUs, links and network that it has.
struct Instance {
  std::string name, provider;  ///< "p5.48xlarge", AWS
  std::vector<std::string> aliases;
  std::string gpu;  ///< catalogue name
  int gpus = 0;
  std::optional<int> scale_up_domain;  ///< where it is not the usual one
  std::string network;                 ///< a row of data/links: protocol and latency
  int nics = 0;                        ///< for traffic between GPUs
  double gbits = 0;                    ///< of all of them, Gbit/s
  std::string source;
};
const std::vector<Instance>& instances();
/// By name or alias; case, '-', '_' and '.' do not matter, nor does "Standard_". nullptr if there is none.
const Instance* find_instance(std::string_view name);
Node instance_node(const Instance& instance);

/// A GPU of the cluster: node index and index in the node.
struct GpuAt {
  int node = 0, gpu = 0;
};
/// The link that a message between two different GPUs takes.
const Link& link_between(const Cluster& cluster, GpuAt a, GpuAt b);
/// The slowest link inside a group of GPUs (by bandwidth, then latency); nullptr for fewer than two GPUs. Every pair of
/// neighbours of the list, taken as a ring, is looked at.
const Link* slowest_link(const Cluster& cluster, const std::vector<GpuAt>& group);

/// "8xH100", "2x8xH200", "H100" (one GPU), "2xp5.48xlarge" (instances), "2x8xH100+1x4xL40S" (mixed); each part may end
/// in "@400G", the network per GPU in Gbit/s. 8*H100, 8×H100, 8 H100, H100x8 and H100:8 are 8xH100. InputError
/// otherwise, with `flag` as its place.
Cluster parse_cluster(std::string_view text, const std::string& flag = "--gpus");
/// YAML cluster file (docs/formats/cluster.md). Strict.
Cluster read_cluster_yaml(std::string_view text, const std::string& file);
/// The same GPUs with so much of each taken by others. InputError if nothing is left.
void take_memory(Cluster& cluster, Bytes taken, const std::string& flag);
/// What the command line calls --gpus: a path (with a / in it, or ending in .yaml/.yml), else a cluster string.
Cluster load_cluster(const std::string& spec);
/// parse_cluster(cluster_string(c)) == c where c is expressible so: usual links, all GPUs available, no prices, no own
/// GPUs.
std::string cluster_string(const Cluster& cluster);
std::string cluster_yaml(const Cluster& cluster);  ///< reads back to the same value

}  // namespace shardwise
