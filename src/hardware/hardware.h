#pragma once
// GPUs, nodes and the links between them. Values only; the catalogue is data/gpus and data/links.
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"

namespace shardwise {

enum class GpuDType { fp32, tf32, fp16, bf16, fp8, int8, fp4 };

/// One GPU product. Figures are the vendor's dense ones (no sparsity); `source` and `date` say where they were read.
struct Gpu {
  std::string name;                  ///< "H100-SXM"; aliases are in the catalogue
  std::string vendor;                ///< nvidia | amd
  std::string architecture;          ///< Hopper, Blackwell, Ada, CDNA3 ...
  int compute_capability = 0;        ///< 90 = 9.0; AMD: 0
  Bytes memory_nominal;              ///< marketing size
  Bytes memory_total;                ///< what the driver and vLLM report (H100-80: 79.18 GiB)
  std::string memory_total_source;   ///< where the previous number comes from; says if estimated
  BytesPerSecond memory_bandwidth;
  std::map<GpuDType, FlopsPerSecond> peak;  ///< dense; absent = no hardware support
  BytesPerSecond scale_up_bandwidth; ///< NVLink/xGMI per GPU, one direction; 0 = none
  std::string scale_up;              ///< NVLink4, xGMI3, none ...
  int scale_up_domain = 1;           ///< GPUs that reach each other at that speed in the usual node (8; 72 for NVL72)
  BytesPerSecond pcie_bandwidth;     ///< one direction
  std::string pcie;                  ///< "gen5 x16"
  Bytes l2_cache;
  int sm_count = 0;
  Watts power;
  std::string source, date;
};

enum class LinkClass { scale_up, pcie, pcie_cross_numa, network };

/// One class of link, for messages between two GPUs.
struct Link {
  std::string name;           ///< "NVLink4", "PCIe gen4 x16", "InfiniBand NDR 400"
  LinkClass kind = LinkClass::scale_up;
  BytesPerSecond bandwidth;   ///< one direction, per GPU
  Seconds latency;            ///< one message
};

struct Node {
  std::string gpu;            ///< catalogue name
  int gpus = 0;
  int numa_domains = 1;
  Link scale_up;              ///< inside the node's fast domain (may be PCIe)
  Link network;               ///< to other nodes, per GPU
  int nics = 0;
  std::optional<Dollars> price_per_gpu_hour;
};

/// Nodes in order; equal nodes are listed one by one.
struct Cluster {
  std::string name;                ///< as the user wrote it, canonical
  std::vector<Node> nodes;
  std::map<std::string, Gpu> gpus; ///< every GPU kind that `nodes` name (catalogue or the user's own)

  int total_gpus() const;
  bool homogeneous() const;        ///< all nodes alike
  const Gpu& gpu(const Node& node) const { return gpus.at(node.gpu); }
  const Gpu& first_gpu() const { return gpus.at(nodes.front().gpu); }
};

/// Catalogue row by name or alias; InputError with a spelling hint otherwise.
const Gpu& find_gpu(std::string_view name);
const std::vector<Gpu>& gpu_catalogue();

/// "8xH100", "2x8xH200", "H100" (one GPU), "2x8xH100+1x4xL40S" (mixed), optionally "@400G" for the network per GPU in Gbit/s.
Cluster parse_cluster(std::string_view text);
/// YAML cluster file (docs/formats/cluster.md). Strict.
Cluster read_cluster_yaml(std::string_view text, const std::string& file);
/// What the command line calls --gpus: a path ending in .yaml/.yml, else a cluster string.
Cluster load_cluster(const std::string& spec);
std::string cluster_string(const Cluster& cluster);  ///< parse_cluster(cluster_string(c)) == c where c is expressible so
std::string cluster_yaml(const Cluster& cluster);    ///< reads back to the same value

}  // namespace shardwise
