// Cluster strings: "2x8xH100@400G+1x4xL40S".
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <utility>

#include "base/input_error.h"
#include "base/text.h"
#include "config/quantity.h"
#include "config/text_source.h"
#include "hardware/catalogue.h"
#include "hardware/cluster_parts.h"
#include "hardware/generations.h"
#include "hardware/hardware.h"

namespace shardwise {
namespace {

/// The sign between a count and a name at the front of `text`: x, X, *, ×, or a space.
std::size_t sign_length(std::string_view text) {
  if (text.starts_with("\xC3\x97")) return 2;
  return !text.empty() && (text[0] == 'x' || text[0] == 'X' || text[0] == '*' || text[0] == ' ') ? 1 : 0;
}

/// Takes "12x", "12 x " or "12*" off the front of `text`; nullopt (and nothing taken) if it does not start so.
std::optional<std::int64_t> take_count(std::string_view& text) {
  std::size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits]))) ++digits;
  if (digits == 0 || digits > 9) return std::nullopt;
  auto rest = text.substr(digits);
  const bool space = rest.starts_with(' ');
  rest = trim(rest);
  const auto sign = sign_length(rest);
  if (sign == 0 && !space) return std::nullopt;
  std::int64_t count = 0;
  parse_number(text.substr(0, digits), count);
  text = trim(rest.substr(sign));
  return count;
}

/// Takes "x8", " x 8", "*8", "×8" or ":8" off the end.
std::optional<std::int64_t> take_last_count(std::string_view& text) {
  std::size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[text.size() - 1 - digits]))) ++digits;
  if (digits == 0 || digits > 9) return std::nullopt;
  auto rest = trim(text.substr(0, text.size() - digits));
  if (rest.ends_with("\xC3\x97"))
    rest.remove_suffix(2);
  else if (!rest.empty() && std::string_view("xX*:").find(rest.back()) != std::string_view::npos)
    rest.remove_suffix(1);
  else
    return std::nullopt;
  std::int64_t count = 0;
  parse_number(text.substr(text.size() - digits), count);
  text = trim(rest);
  return text.empty() ? std::nullopt : std::optional(count);
}

/// What stands for a node: a GPU of the catalogue, or a cloud's instance, which says how many.
bool is_node_name(std::string_view text) { return find_gpu_or_null(text) || find_instance(text); }

/// The counts before and behind a name, which is what is left of `text`: none, GPUs, or nodes and GPUs of each.
std::vector<std::int64_t> take_counts(std::string_view& text) {
  std::vector<std::int64_t> counts;
  // A name may itself begin or end like a count (4090 48G), or be all digits (3090 x 2).
  while (counts.size() < 2 && !is_node_name(text)) {
    auto rest = text;
    const auto last = take_last_count(rest);
    const bool behind = last && is_node_name(rest);
    if (behind) text = rest;
    const auto count = behind ? last : take_count(text);
    if (!count) break;
    counts.push_back(*count);
  }
  if (counts.size() < 2 && !is_node_name(text))
    if (const auto count = take_last_count(text)) counts.push_back(*count);
  return counts;
}

struct Part {
  int nodes = 1;
  int gpus = 1;
  const Gpu* gpu = nullptr;
  const Instance* instance = nullptr;
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
    if (!parse_number(speed, gbits) || gbits < 0.01 || gbits > 8e5)
      fail("'" + whole + "': '" + std::string(speed.substr(0, 20)) + "' is no network speed",
           "Gbit/s per GPU, as in 8xH100@400G");
    part.gbits = gbits;
    text = trim(text.substr(0, at));
  }
  const auto counts = take_counts(text);
  const Instance* instance = find_gpu_or_null(text) ? nullptr : find_instance(text);
  if (instance && counts.size() > 1)
    fail("'" + whole + "': an instance has its own number of GPUs", "write INSTANCESx" + instance->name);
  std::int64_t nodes = 1, gpus = counts.empty() ? 1 : counts.back();
  if (instance) nodes = std::exchange(gpus, instance->gpus);
  if (counts.size() > 1) nodes = counts.front();
  if (nodes < 1 || gpus < 1) fail("'" + whole + "' has no GPU", "counts start at 1");
  if (gpus > kMaxGpusPerNode)
    fail(std::to_string(gpus) + " GPUs in one node",
         "at most " + std::to_string(kMaxGpusPerNode) + "; NODESxGPUSxNAME");
  if (nodes > kMaxNodes) fail(std::to_string(nodes) + " nodes", "at most " + std::to_string(kMaxNodes));
  part.nodes = static_cast<int>(nodes);
  part.gpus = static_cast<int>(gpus);
  text = trim(text);
  if (text.empty()) fail("'" + whole + "' names no GPU", "write for example 8xH100");
  part.instance = instance;
  part.gpu = instance ? &find_gpu(instance->gpu) : find_gpu_or_null(text);
  if (!part.gpu) fail("unknown GPU '" + std::string(text.substr(0, 60)) + "'", gpu_hint(text));
  return part;
}

/// The same node written as a string part; network is the only thing a part can say beyond the default.
std::string part_text(const Cluster& cluster, const Node& node, std::size_t count) {
  std::string out = count > 1 ? std::to_string(count) + "x" : "";
  for (const Instance& instance : instances())
    if (cluster.name.find(instance.name) != std::string::npos && instance.gpus == node.gpus &&
        instance.gpu == node.gpu && node == instance_node(instance))
      return out + instance.name;
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

std::string usual_for(const Node& node) { return "usual for servers with " + node.gpu; }

void add_defaults(Cluster& cluster, const Node& node, const NodeDefaults& defaulted, const std::string& reason) {
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
  std::vector<Part> parts;
  std::vector<std::size_t> first;  // node of each part
  for (const std::string& part_string : split(text, '+')) {
    const Part& part = parts.emplace_back(parse_part(trim(part_string), flag));
    first.push_back(cluster.nodes.size());
    const auto nodes = cluster.nodes.size() + static_cast<std::size_t>(part.nodes);
    if (nodes > kMaxNodes)
      throw InputError(flag, 0, "", std::to_string(nodes) + " nodes", "at most " + std::to_string(kMaxNodes));
    const Node node = part.instance && !part.gbits ? instance_node(*part.instance)
                                                   : node_with_network(*part.gpu, part.gpus, part.gbits);
    if (part.instance) cluster.name += part.instance->name + " ";
    cluster.nodes.insert(cluster.nodes.end(), static_cast<std::size_t>(part.nodes), node);
    cluster.gpus.emplace(part.gpu->name, *part.gpu);
  }
  for (std::size_t i = 0; i < parts.size(); ++i)
    add_defaults(cluster, cluster.nodes[first[i]], {true, cluster.nodes.size() > 1 && !parts[i].gbits, true},
                 parts[i].instance ? "of " + parts[i].instance->name + " (" + parts[i].instance->source + ")"
                                   : usual_for(cluster.nodes[first[i]]));
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

namespace {
Cluster on_which_vllm_runs(Cluster cluster) {
  for (const auto& [name, gpu] : cluster.gpus)
    if (!generation_of(gpu).runs_vllm)
      throw InputError(
          "--gpus", 0, "",
          fmt::format("vLLM does not run on {}: compute capability {}.{}, its kernels are built for 7.0 and later",
                      name, gpu.compute_capability / 10, gpu.compute_capability % 10),
          "`shardwise gpus` lists others");
  return cluster;
}
}  // namespace

Cluster load_cluster(const std::string& spec) {
  if (spec.ends_with(".yaml") || spec.ends_with(".yml") || spec.find('/') != std::string::npos)
    return on_which_vllm_runs(read_cluster_yaml(read_file(spec), spec));
  if (spec == "auto")
    throw InputError("--gpus", 0, "", "'auto' is not supported yet",
                     "name the GPUs, as in 8xH100, or give a cluster file");
  return on_which_vllm_runs(parse_cluster(spec));
}

}  // namespace shardwise
