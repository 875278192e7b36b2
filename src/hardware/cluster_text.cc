// Cluster strings: "2x8xH100@400G+1x4xL40S".
#include <algorithm>
#include <cctype>

#include "base/input_error.h"
#include "base/text.h"
#include "config/quantity.h"
#include "config/text_source.h"
#include "hardware/catalogue.h"
#include "hardware/cluster_parts.h"
#include "hardware/hardware.h"

namespace shardwise {
namespace {

/// Takes "12x" off the front of `text`; nullopt (and nothing taken) if it does not start so.
std::optional<std::int64_t> take_count(std::string_view& text) {
  std::size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits]))) ++digits;
  if (digits == 0 || digits > 9 || digits >= text.size() || (text[digits] != 'x' && text[digits] != 'X'))
    return std::nullopt;
  std::int64_t count = 0;
  parse_number(text.substr(0, digits), count);
  text.remove_prefix(digits + 1);
  return count;
}

struct Part {
  int nodes = 1;
  int gpus = 1;
  const Gpu* gpu = nullptr;
  std::optional<double> gbits;
};

Part parse_part(std::string_view text, const std::string& flag) {
  auto fail = [&](const std::string& message, const std::string& hint = "") -> void {
    throw InputError(flag, 0, "", message, hint);
  };
  const std::string whole(text.substr(0, 80));
  Part part;
  if (const auto at = text.rfind('@'); at != std::string_view::npos) {
    std::string_view speed = text.substr(at + 1);
    double gbits = 0;
    if (speed.ends_with('G') || speed.ends_with('g'))
      speed.remove_suffix(1);
    else
      fail("'" + whole + "': the network has no unit", "Gbit/s per GPU, as in 8xH100@400G");
    if (!parse_number(speed, gbits) || gbits <= 0 || gbits > 1e6)
      fail("'" + whole + "': '" + std::string(speed.substr(0, 20)) + "' is no network speed",
           "Gbit/s per GPU, as in 8xH100@400G");
    part.gbits = gbits;
    text = trim(text.substr(0, at));
  }
  const auto first = take_count(text);
  const auto second = first ? take_count(text) : std::nullopt;
  const std::int64_t nodes = second ? *first : 1, gpus = second ? *second : first.value_or(1);
  if (nodes < 1 || gpus < 1) fail("'" + whole + "' has no GPU", "counts start at 1");
  if (gpus > kMaxGpusPerNode)
    fail(std::to_string(gpus) + " GPUs in one node",
         "at most " + std::to_string(kMaxGpusPerNode) + "; NODESxGPUSxNAME");
  if (nodes > kMaxNodes) fail(std::to_string(nodes) + " nodes", "at most " + std::to_string(kMaxNodes));
  part.nodes = static_cast<int>(nodes);
  part.gpus = static_cast<int>(gpus);
  text = trim(text);
  if (text.empty()) fail("'" + whole + "' names no GPU", "write for example 8xH100");
  part.gpu = find_gpu_or_null(text);
  if (!part.gpu) fail("unknown GPU '" + std::string(text.substr(0, 60)) + "'", gpu_hint(text));
  return part;
}

/// The same node written as a string part; network is the only thing a part can say beyond the default.
std::string part_text(const Cluster& cluster, const Node& node, std::size_t count) {
  std::string out = count > 1 ? std::to_string(count) + "x" : "";
  out += std::to_string(node.gpus) + "x" + cluster_name_of_gpu(node.gpu);
  const Gpu* gpu = find_gpu_or_null(node.gpu);
  if (gpu && *gpu == cluster.gpu(node)) {
    const double gbits = node.network.bandwidth.value * 8 / 1e9;
    if (node.network != default_node(*gpu, node.gpus).network) out += "@" + number_text(gbits) + "G";
  }
  return out;
}

}  // namespace

Node node_with_network(const Gpu& gpu, int gpus, std::optional<double> gbits_per_gpu) {
  Node node = default_node(gpu, gpus);
  if (gbits_per_gpu) {
    node.network.bandwidth = gb_per_second(*gbits_per_gpu / 8);
    node.network.name = (node.network.name.starts_with("Ethernet") ? "Ethernet, " : "RDMA, ") +
                        number_text(*gbits_per_gpu) + " Gbit/s per GPU";
  }
  return node;
}

void add_defaults(Cluster& cluster, const Node& node, const NodeDefaults& defaulted) {
  const std::string reason = "usual for servers with " + node.gpu;
  auto add = [&](const std::string& name, const std::string& value) {
    const bool known = std::any_of(cluster.defaults.begin(), cluster.defaults.end(), [&](const ClusterDefault& d) {
      return d.name == name && d.value == value && d.reason == reason;
    });
    if (!known) cluster.defaults.push_back({name, value, reason});
  };
  auto link_text = [](const Link& link) {
    return link.name + ", " + bandwidth_text(link.bandwidth) + " per GPU, " + seconds_text(link.latency);
  };
  if (defaulted.scale_up)
    add("scale_up", link_text(node.scale_up) + ", domains of " + std::to_string(node.scale_up_domain));
  if (defaulted.network) add("network", link_text(node.network));
  if (defaulted.numa) add("numa_domains", std::to_string(node.numa_domains));
}

Cluster parse_cluster(std::string_view text, const std::string& flag) {
  text = trim(text);
  if (text.empty()) throw InputError(flag, 0, "", "no cluster given", "write for example 8xH100 or 2x8xH200");
  Cluster cluster;
  std::size_t nodes = 0;
  for (const std::string& part_string : split(text, '+')) {
    const Part part = parse_part(trim(part_string), flag);
    nodes += static_cast<std::size_t>(part.nodes);
    if (nodes > kMaxNodes)
      throw InputError(flag, 0, "", std::to_string(nodes) + " nodes", "at most " + std::to_string(kMaxNodes));
    const Node node = node_with_network(*part.gpu, part.gpus, part.gbits);
    cluster.nodes.insert(cluster.nodes.end(), static_cast<std::size_t>(part.nodes), node);
    cluster.gpus.emplace(part.gpu->name, *part.gpu);
  }
  for (std::size_t i = 0; i < cluster.nodes.size(); ++i)
    if (i == 0 || cluster.nodes[i].gpu != cluster.nodes[i - 1].gpu ||
        cluster.nodes[i].gpus != cluster.nodes[i - 1].gpus)
      add_defaults(cluster, cluster.nodes[i],
                   {true, cluster.nodes.size() > 1 && text.find('@') == std::string_view::npos, true});
  cluster.name = cluster_string(cluster);
  return cluster;
}

std::string cluster_string(const Cluster& cluster) {
  std::string out;
  for (std::size_t i = 0; i < cluster.nodes.size();) {
    std::size_t end = i + 1;
    while (end < cluster.nodes.size() && cluster.nodes[end] == cluster.nodes[i]) ++end;
    if (!out.empty()) out += "+";
    out += part_text(cluster, cluster.nodes[i], end - i);
    i = end;
  }
  return out;
}

Cluster load_cluster(const std::string& spec) {
  if (spec.ends_with(".yaml") || spec.ends_with(".yml")) return read_cluster_yaml(read_file(spec), spec);
  if (spec == "auto")
    throw InputError("--gpus", 0, "", "'auto' is not supported yet",
                     "name the GPUs, as in 8xH100, or give a cluster file");
  return parse_cluster(spec);
}

}  // namespace shardwise
