// The cluster file, docs/formats/cluster.md.
#include <algorithm>
#include <cmath>

#include "base/input_error.h"
#include "base/text.h"
#include "config/ranges.h"
#include "config/yaml.h"
#include "hardware/catalogue.h"
#include "hardware/cluster_parts.h"
#include "hardware/hardware.h"

namespace shardwise {
namespace {

constexpr std::pair<std::string_view, GpuDType> kDTypes[] = {
    {"fp32", GpuDType::fp32}, {"tf32", GpuDType::tf32}, {"fp16", GpuDType::fp16}, {"bf16", GpuDType::bf16},
    {"fp8", GpuDType::fp8},   {"int8", GpuDType::int8}, {"fp4", GpuDType::fp4}};

/// "9.0" -> 90, "12.1" -> 121.
int read_compute_capability(const YamlValue& value) {
  const std::string& text = value.text();
  const auto dot = text.find('.');
  std::int64_t major = 0, minor = 0;
  if (dot == std::string::npos || !parse_number(std::string_view(text).substr(0, dot), major) ||
      !parse_number(std::string_view(text).substr(dot + 1), minor) || major < 1 || major > 99 || minor < 0 || minor > 9)
    value.fail("'" + text.substr(0, 20) + "' is no compute capability", "write for example 9.0");
  return static_cast<int>(major * 10 + minor);
}

/// A row of data/links, with the place of the value in the error.
const LinkRow& named_link(const YamlValue& value) {
  try {
    return find_link(value.text());
  } catch (const InputError& e) {
    if (!e.file.empty()) throw;
    value.fail(e.message, e.hint);
  }
}

/// `name` or {name, bandwidth, latency}; `base` gives what the map leaves out.
Link read_link(const YamlValue& value, Link base) {
  if (value.kind == YamlValue::Kind::scalar) return named_link(value).link;
  value.only_keys({"name", "kind", "bandwidth", "latency", "domain"});
  if (const YamlValue* name = value.find("name")) base.name = name->text();
  if (const YamlValue* kind = value.find("kind")) {
    if (kind->text() == "scale_up")
      base.kind = LinkClass::scale_up;
    else if (kind->text() == "pcie")
      base.kind = LinkClass::pcie;
    else if (kind->text() == "pcie_cross_numa")
      base.kind = LinkClass::pcie_cross_numa;
    else if (kind->text() == "network")
      base.kind = LinkClass::network;
    else
      kind->fail("unknown link kind", "scale_up, pcie, pcie_cross_numa or network");
  }
  if (const YamlValue* bandwidth = value.find("bandwidth"))
    base.bandwidth = parse_bandwidth(bandwidth->text(), bandwidth->place, ranges::link_bandwidth);
  if (const YamlValue* latency = value.find("latency"))
    base.latency = parse_seconds(latency->text(), latency->place, ranges::link_latency);
  if (base.bandwidth.value <= 0) value.fail("the bandwidth is missing");
  return base;
}

Gpu read_gpu(const YamlValue& value) {
  value.only_keys({"name",
                   "like",
                   "vendor",
                   "architecture",
                   "compute_capability",
                   "memory",
                   "memory_total",
                   "memory_taken",
                   "memory_bandwidth",
                   "peak",
                   "scale_up",
                   "pcie",
                   "pcie_peer_to_peer",
                   "l2_cache",
                   "sm_count",
                   "power",
                   "network",
                   "gpus_per_nic",
                   "source",
                   "date",
                   "memory_total_source"});
  Gpu gpu;
  const bool based = value.find("like") != nullptr;
  if (based) {
    const Gpu* like = find_gpu_or_null(value.at("like").text());
    if (!like)
      value.at("like").fail("unknown GPU '" + value.at("like").text().substr(0, 60) + "'",
                            gpu_hint(value.at("like").text()));
    gpu = *like;
    gpu.source = "as " + like->name + " where the cluster file says nothing else";
  } else {
    gpu.pcie = "gen4 x16";
    gpu.network = "Ethernet 100G";
    gpu.gpus_per_nic = 8;
    gpu.source = "cluster file " + value.place.file;
  }
  auto bytes = [&](const char* key, Bytes& into, const Range<Bytes>& range, bool required = false) {
    const YamlValue* v = required && !based ? &value.at(key) : value.find(key);
    if (v) into = parse_bytes(v->text(), v->place, range);
    return v != nullptr;
  };
  auto text = [&](const char* key, std::string& into, bool required) {
    const YamlValue* v = required && !based ? &value.at(key) : value.find(key);
    if (v) into = v->text();
  };
  gpu.name = value.at("name").text();
  text("vendor", gpu.vendor, true);
  text("architecture", gpu.architecture, true);
  text("network", gpu.network, false);
  text("source", gpu.source, false);
  text("date", gpu.date, false);
  text("pcie", gpu.pcie, false);
  if (gpu.pcie.starts_with("PCIe ")) gpu.pcie.erase(0, 5);
  if (const YamlValue* v = value.find("compute_capability")) gpu.compute_capability = read_compute_capability(*v);
  const bool new_memory = bytes("memory", gpu.memory_nominal, ranges::gpu_memory, true);
  if (bytes("memory_total", gpu.memory_total, ranges::gpu_memory)) {
    gpu.memory_total_source = "cluster file " + value.place.file;
  } else if (new_memory) {
    // Drivers keep 0.5 to 2 % of a card; 1.5 % of the binary size is between.
    gpu.memory_total = Bytes(std::llround(static_cast<double>(gpu.memory_nominal.value) * 1.073741824 * 0.985));
    gpu.memory_total_source = "estimated: nominal size in GiB less 1.5 % for the driver";
  }
  text("memory_total_source", gpu.memory_total_source, false);
  bytes("memory_taken", gpu.memory_taken, ranges::memory_taken);
  if (gpu.memory_taken >= gpu.memory_total) value.at("memory_taken").fail("nothing of the memory would be left");
  if (const YamlValue* v = based ? value.find("memory_bandwidth") : &value.at("memory_bandwidth"))
    gpu.memory_bandwidth = parse_bandwidth(v->text(), v->place, ranges::memory_bandwidth);
  if (const YamlValue* v = based ? value.find("peak") : &value.at("peak")) {
    v->only_keys({"fp32", "tf32", "fp16", "bf16", "fp8", "int8", "fp4"});
    gpu.peak.clear();
    for (const auto& [name, dtype] : kDTypes)
      if (const YamlValue* peak = v->find(name)) gpu.peak[dtype] = parse_flops(peak->text(), peak->place, ranges::peak);
    if (!gpu.peak.count(GpuDType::bf16) && !gpu.peak.count(GpuDType::fp16)) v->fail("needs bf16 or fp16");
  }
  if (const YamlValue* v = value.find("scale_up")) {
    if (v->kind == YamlValue::Kind::scalar && v->scalar == "none") {
      gpu.scale_up.reset();
    } else {
      v->only_keys({"name", "bandwidth", "domain"});
      gpu.scale_up.emplace(
          ScaleUp{named_link(v->at("name")).link.name,
                  parse_bandwidth(v->at("bandwidth").text(), v->at("bandwidth").place, ranges::link_bandwidth),
                  static_cast<int>(v->at("domain").integer(1, 100000))});
    }
  }
  if (const YamlValue* v = value.find("pcie_peer_to_peer")) gpu.pcie_peer_to_peer = v->boolean();
  bytes("l2_cache", gpu.l2_cache, ranges::cache);
  if (const YamlValue* v = value.find("sm_count")) gpu.sm_count = static_cast<int>(v->integer(1, 100000));
  if (const YamlValue* v = value.find("power")) gpu.power = parse_watts(v->text(), v->place, ranges::power);
  if (const YamlValue* v = value.find("gpus_per_nic")) gpu.gpus_per_nic = static_cast<int>(v->integer(1, 1024));
  if (gpu.vendor != "nvidia" && gpu.vendor != "amd" && gpu.vendor != "intel")
    value.at("vendor").fail("unknown vendor '" + gpu.vendor.substr(0, 40) + "'", "nvidia, amd or intel");
  if (gpu.vendor == "nvidia" && gpu.compute_capability == 0)
    value.fail("'compute_capability' is missing", "write for example 9.0");
  const auto generation = gpu.pcie.substr(0, gpu.pcie.find(' '));
  for (const std::string& link :
       {"PCIe " + gpu.pcie + (gpu.pcie_peer_to_peer ? "" : " via host"), "cross-NUMA " + generation})
    try {
      find_link(link);
    } catch (const InputError& e) {
      value.fail("pcie: '" + gpu.pcie.substr(0, 40) + "' is no slot",
                 "gen3, gen4, gen5 or gen6, x8 or x16, as in 'gen5 x16'");
    }
  gpu.pcie_bandwidth = find_link("PCIe " + gpu.pcie).link.bandwidth;
  try {
    if (find_link(gpu.network).link.kind != LinkClass::network)
      throw InputError("", 0, "", "'" + gpu.network + "' is no network", "");
  } catch (const InputError& e) {
    value.find("network") ? value.at("network").fail(e.message, e.hint) : value.fail(e.message, e.hint);
  }
  return gpu;
}

Node read_node(const YamlValue& value, const Cluster& cluster, const std::map<std::string, Gpu>& own,
               NodeDefaults& defaulted, Gpu& gpu) {
  value.only_keys({"count", "gpu", "gpus", "available", "numa_domains", "scale_up", "pcie", "pcie_cross_numa",
                   "network", "nics", "price", "addresses"});
  (void)cluster;
  const YamlValue& name = value.at("gpu");
  const auto mine = own.find(name.text());
  const Gpu* found = mine != own.end() ? &mine->second : find_gpu_or_null(name.text());
  if (!found) name.fail("unknown GPU '" + name.text().substr(0, 60) + "'", gpu_hint(name.text()));
  gpu = *found;
  Node node = default_node(gpu, static_cast<int>(value.at("gpus").integer(1, kMaxGpusPerNode)));
  defaulted = {!value.find("scale_up"), !value.find("network"), !value.find("numa_domains")};
  const bool fast = gpu.scale_up_domain() > 1;
  if (const YamlValue* v = value.find("numa_domains")) {
    node.numa_domains = static_cast<int>(v->integer(1, 64));
    if (!fast) node.scale_up_domain = static_cast<int>(ceil_div(node.gpus, node.numa_domains));
  }
  if (const YamlValue* v = value.find("pcie")) node.pcie = read_link(*v, node.pcie);
  if (const YamlValue* v = value.find("pcie_cross_numa")) node.pcie_cross_numa = read_link(*v, node.pcie_cross_numa);
  if (!fast) node.scale_up = node.pcie;
  if (const YamlValue* v = value.find("scale_up")) {
    if (v->kind == YamlValue::Kind::scalar && v->scalar == "none") {
      node.scale_up = node.pcie;
      node.scale_up_domain = static_cast<int>(ceil_div(node.gpus, node.numa_domains));
    } else {
      Link base = node.scale_up;
      const ScaleUp usual = gpu.scale_up.value_or(ScaleUp{"none", {}, 1});
      if (!fast) base = {usual.name, LinkClass::scale_up, usual.bandwidth, microseconds(1.5)};
      node.scale_up = read_link(*v, base);
      if (v->kind == YamlValue::Kind::scalar && node.scale_up.name == usual.name && usual.bandwidth.value > 0)
        node.scale_up.bandwidth = usual.bandwidth;
      const bool bridge = node.scale_up.name.find("bridge") != std::string::npos;
      if (!fast) node.scale_up_domain = bridge ? std::min(2, node.gpus) : node.gpus;
      if (const YamlValue* domain = v->find("domain"))
        node.scale_up_domain = static_cast<int>(domain->integer(1, 100000));
    }
  }
  if (const YamlValue* v = value.find("nics")) node.nics = static_cast<int>(v->integer(1, 1024));
  if (const YamlValue* v = value.find("network")) {
    const double per_gpu = static_cast<double>(node.nics) / node.gpus;
    node.network = read_link(*v, node.network);
    if (node.network.kind != LinkClass::network)
      v->fail("'" + node.network.name.substr(0, 60) + "' is no network link");
    // A named link is the speed of one port; a bandwidth written out is per GPU.
    if (v->kind == YamlValue::Kind::scalar) node.network.bandwidth = node.network.bandwidth * per_gpu;
  } else if (value.find("nics")) {
    node.network.bandwidth = find_link(gpu.network).link.bandwidth * (static_cast<double>(node.nics) / node.gpus);
  }
  if (const YamlValue* v = value.find("available")) node.available = static_cast<int>(v->integer(0, node.gpus));
  if (const YamlValue* v = value.find("price"))
    node.price_per_gpu_hour = parse_price_per_hour(v->text(), v->place, ranges::price_per_hour);
  return node;
}

std::string link_yaml(const Link& link, LinkClass usual, std::optional<int> domain) {
  std::string out = "{name: " + yaml_scalar(link.name);
  constexpr const char* kKinds[] = {"scale_up", "pcie", "pcie_cross_numa", "network"};
  if (link.kind != usual) out += std::string(", kind: ") + kKinds[static_cast<int>(link.kind)];
  out += ", bandwidth: " + bandwidth_text(link.bandwidth) + ", latency: " + seconds_text(link.latency);
  if (domain) out += ", domain: " + std::to_string(*domain);
  return out + "}";
}

std::string gpu_yaml(const Gpu& gpu) {
  std::string out = "  - name: " + yaml_scalar(gpu.name) + "\n";
  auto line = [&](const std::string& key, const std::string& value) { out += "    " + key + ": " + value + "\n"; };
  line("vendor", yaml_scalar(gpu.vendor));
  line("architecture", yaml_scalar(gpu.architecture));
  if (gpu.compute_capability)
    line("compute_capability",
         std::to_string(gpu.compute_capability / 10) + "." + std::to_string(gpu.compute_capability % 10));
  line("memory", bytes_text(gpu.memory_nominal));
  line("memory_total", bytes_text(gpu.memory_total));
  line("memory_total_source", yaml_scalar(gpu.memory_total_source));
  if (gpu.memory_taken.value) line("memory_taken", bytes_text(gpu.memory_taken));
  line("memory_bandwidth", bandwidth_text(gpu.memory_bandwidth));
  std::string peak = "{";
  for (const auto& [name, dtype] : kDTypes)
    if (gpu.peak.count(dtype))
      peak += (peak.size() > 1 ? ", " : "") + std::string(name) + ": " + flops_text(gpu.peak.at(dtype));
  line("peak", peak + "}");
  if (const auto& link = gpu.scale_up)
    line("scale_up", "{name: " + yaml_scalar(link->name) + ", bandwidth: " + bandwidth_text(link->bandwidth) +
                         ", domain: " + std::to_string(link->domain) + "}");
  line("pcie", yaml_scalar(gpu.pcie));
  line("pcie_peer_to_peer", gpu.pcie_peer_to_peer ? "true" : "false");
  if (gpu.l2_cache.value) line("l2_cache", bytes_text(gpu.l2_cache));
  if (gpu.sm_count) line("sm_count", std::to_string(gpu.sm_count));
  if (gpu.power.value > 0) line("power", watts_text(gpu.power));
  line("network", yaml_scalar(gpu.network));
  line("gpus_per_nic", std::to_string(gpu.gpus_per_nic));
  line("source", yaml_scalar(gpu.source));
  if (!gpu.date.empty()) line("date", yaml_scalar(gpu.date));
  return out;
}

Node without_address(Node node) {
  node.address.reset();
  return node;
}

}  // namespace

Cluster read_cluster_yaml(std::string_view text, const std::string& file) {
  const YamlValue root = parse_yaml(text, file);
  root.only_keys({"name", "gpus", "nodes"});
  Cluster cluster;
  std::map<std::string, Gpu> own;
  if (const YamlValue* gpus = root.find("gpus"))
    for (const YamlValue& value : gpus->items()) {
      Gpu gpu = read_gpu(value);
      const std::string name = gpu.name;
      if (!own.emplace(name, std::move(gpu)).second)
        value.at("name").fail("GPU '" + name.substr(0, 60) + "' is given twice");
    }
  if (root.at("nodes").items().empty()) root.at("nodes").fail("needs at least one node");
  for (const YamlValue& value : root.at("nodes").items()) {
    NodeDefaults defaulted;
    Gpu gpu;
    const Node node = read_node(value, cluster, own, defaulted, gpu);
    const YamlValue* count_value = value.find("count");
    const YamlValue* addresses = value.find("addresses");
    const std::size_t count =
        static_cast<std::size_t>(count_value ? count_value->integer(1, kMaxNodes)
                                             : (addresses ? static_cast<std::int64_t>(addresses->items().size()) : 1));
    if (addresses && addresses->items().size() != count)
      addresses->fail(std::to_string(addresses->items().size()) + " addresses for " + std::to_string(count) + " nodes");
    if (cluster.nodes.size() + count > kMaxNodes) value.fail("more than " + std::to_string(kMaxNodes) + " nodes");
    for (std::size_t i = 0; i < count; ++i) {
      cluster.nodes.push_back(node);
      if (!addresses) continue;
      const YamlValue& address = addresses->items()[i];
      cluster.nodes.back().address = parse_host_name(address.text(), address.place);
    }
    cluster.gpus.emplace(gpu.name, gpu);
    add_defaults(cluster, node, defaulted, usual_for(node));
  }
  if (cluster.nodes.empty() || cluster.total_gpus() == 0) root.at("nodes").fail("no GPU is available");
  if (cluster.nodes.size() == 1)
    std::erase_if(cluster.defaults, [](const ClusterDefault& d) { return d.name == "network"; });
  cluster.name = root.find("name") ? root.at("name").text() : cluster_string(cluster);
  return cluster;
}

std::string cluster_yaml(const Cluster& cluster) {
  std::string out = "name: " + yaml_scalar(cluster.name) + "\n";
  std::string gpus;
  for (const auto& [name, gpu] : cluster.gpus) {
    const Gpu* known = find_gpu_or_null(name);
    if (!known || *known != gpu) gpus += gpu_yaml(gpu);
  }
  if (!gpus.empty()) out += "gpus:\n" + gpus;
  out += "nodes:\n";
  for (std::size_t i = 0; i < cluster.nodes.size();) {
    const Node& node = cluster.nodes[i];
    std::size_t end = i + 1;
    while (end < cluster.nodes.size() && without_address(cluster.nodes[end]) == without_address(node) &&
           cluster.nodes[end].address.has_value() == node.address.has_value())
      ++end;
    out += "  - gpu: " + yaml_scalar(node.gpu) + "\n";
    auto line = [&](const std::string& key, const std::string& value) { out += "    " + key + ": " + value + "\n"; };
    if (end - i > 1) line("count", std::to_string(end - i));
    line("gpus", std::to_string(node.gpus));
    if (node.available) line("available", std::to_string(*node.available));
    line("numa_domains", std::to_string(node.numa_domains));
    line("scale_up", link_yaml(node.scale_up, LinkClass::scale_up, node.scale_up_domain));
    line("pcie", link_yaml(node.pcie, LinkClass::pcie, std::nullopt));
    line("pcie_cross_numa", link_yaml(node.pcie_cross_numa, LinkClass::pcie_cross_numa, std::nullopt));
    line("nics", std::to_string(node.nics));
    line("network", link_yaml(node.network, LinkClass::network, std::nullopt));
    if (node.price_per_gpu_hour) line("price", price_per_hour_text(*node.price_per_gpu_hour));
    if (node.address) {
      std::string list = "[";
      for (std::size_t n = i; n < end; ++n) list += (n > i ? ", " : "") + yaml_scalar(cluster.nodes[n].address->text());
      line("addresses", list + "]");
    }
    i = end;
  }
  return out;
}

}  // namespace shardwise
