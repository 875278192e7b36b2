// The built-in catalogues, read from data/gpus and data/links once, at first use.
#include "hardware/catalogue.h"

#include <algorithm>
#include <cctype>
#include <optional>
#include <unordered_map>

#include "base/input_error.h"
#include "base/text.h"
#include "config/csv.h"
#include "config/quantity.h"
#include "hardware/hardware.h"

namespace shardwise {
namespace {

constexpr std::pair<const char*, GpuDType> kPeaks[] = {
    {"fp32", GpuDType::fp32}, {"tf32", GpuDType::tf32}, {"fp16", GpuDType::fp16}, {"bf16", GpuDType::bf16},
    {"fp8", GpuDType::fp8},   {"int8", GpuDType::int8}, {"fp4", GpuDType::fp4}};

Gpu gpu_of(const CsvCells& cells) {
  Gpu gpu;
  gpu.name = cells.text("name");
  gpu.vendor = cells.text("vendor");
  gpu.architecture = cells.text("architecture");
  gpu.compute_capability = cells.whole("compute_capability");
  gpu.memory_nominal = Bytes(static_cast<std::int64_t>(cells.required("memory_gb") * 1e9));
  gpu.memory_total = mib(cells.whole("memory_total_mib"));
  gpu.memory_total_source = cells.text("memory_total_source");
  gpu.memory_bandwidth = gb_per_second(cells.required("memory_bandwidth_gbs"));
  for (const auto& [column, dtype] : kPeaks)
    if (const auto peak = cells.number(column)) gpu.peak[dtype] = tflops(*peak);
  if (cells.text("scale_up") != "none")
    gpu.scale_up = {cells.text("scale_up"), gb_per_second(cells.required("scale_up_gbs")),
                    cells.whole("scale_up_domain")};
  gpu.pcie = cells.text("pcie").substr(5);
  gpu.pcie_bandwidth = find_link(cells.text("pcie")).link.bandwidth;
  gpu.pcie_peer_to_peer = cells.text("p2p") == "y";
  gpu.l2_cache = Bytes(static_cast<std::int64_t>(cells.required("l2_mib") * 1048576.0));
  gpu.sm_count = cells.whole("sm_count");
  gpu.power = Watts(cells.required("power_w"));
  gpu.network = cells.text("network");
  gpu.gpus_per_nic = cells.whole("gpus_per_nic");
  gpu.source = cells.text("source");
  gpu.date = cells.text("date");
  return gpu;
}

/// Coherent links to the CPU, by GPU.
std::optional<BytesPerSecond> host_bandwidth(const std::string& gpu) {
  static const auto links = [] {
    std::unordered_map<std::string, BytesPerSecond> out;
    const CsvTable table = embedded_csv("gpus/host_links.csv");
    for (const CsvRow& row : table.rows) {
      const CsvCells cells(table, row);
      out.emplace(cells.text("gpu"), gb_per_second(cells.required("host_gbs")));
    }
    return out;
  }();
  const auto it = links.find(gpu);
  return it == links.end() ? std::nullopt : std::optional(it->second);
}

struct GpuCatalogue {
  std::vector<Gpu> gpus;
  std::vector<std::vector<std::string>> aliases;         ///< beside gpus
  std::unordered_map<std::string, std::size_t> by_name;  ///< plain_name of names and aliases
};

const GpuCatalogue& gpus() {
  static const GpuCatalogue catalogue = [] {
    GpuCatalogue c;
    const CsvTable table = embedded_csv("gpus/gpus.csv");
    for (const CsvRow& row : table.rows) {
      const CsvCells cells(table, row);
      c.gpus.push_back(gpu_of(cells));
      c.gpus.back().host_bandwidth = host_bandwidth(c.gpus.back().name);
      c.aliases.push_back(cells.list("aliases"));
      c.by_name.emplace(plain_name(c.gpus.back().name), c.gpus.size() - 1);
    }
    for (std::size_t i = 0; i < c.gpus.size(); ++i)
      for (const auto& alias : c.aliases[i]) c.by_name.emplace(plain_name(alias), i);
    // Every name with the nominal memory behind it, where no row has that name.
    for (std::size_t i = 0; i < c.gpus.size(); ++i) {
      const auto memory = " " + std::to_string(c.gpus[i].memory_nominal.value / 1'000'000'000) + "G";
      c.by_name.emplace(plain_name(c.gpus[i].name + memory), i);
      for (const auto& alias : c.aliases[i]) c.by_name.emplace(plain_name(alias + memory), i);
    }
    return c;
  }();
  return catalogue;
}

struct LinkCatalogue {
  std::vector<LinkRow> rows;
  std::unordered_map<std::string, std::size_t> by_name;
};

/// Lower case, without spaces, '-' and '_'.
std::string plain_link(std::string_view name) {
  std::string out;
  for (const char c : to_lower(name))
    if (c != ' ' && c != '-' && c != '_') out += c;
  return out;
}

LinkClass link_class_of(const std::string& text) {
  if (text == "scale_up") return LinkClass::scale_up;
  if (text == "pcie") return LinkClass::pcie;
  if (text == "pcie_cross_numa") return LinkClass::pcie_cross_numa;
  return LinkClass::network;
}

const LinkCatalogue& links() {
  static const LinkCatalogue catalogue = [] {
    LinkCatalogue c;
    const CsvTable table = embedded_csv("links/links.csv");
    for (const CsvRow& row : table.rows) {
      const CsvCells cells(table, row);
      LinkRow link;
      link.link = {cells.text("name"), link_class_of(cells.text("kind")),
                   gb_per_second(cells.required("bandwidth_gbs")), microseconds(cells.required("latency_us"))};
      link.aliases = cells.list("aliases");
      link.source = cells.text("source");
      link.date = cells.text("date");
      c.rows.push_back(std::move(link));
    }
    for (std::size_t i = 0; i < c.rows.size(); ++i) {
      c.by_name.emplace(plain_link(c.rows[i].link.name), i);
      for (const auto& alias : c.rows[i].aliases) c.by_name.emplace(plain_link(alias), i);
    }
    return c;
  }();
  return catalogue;
}

}  // namespace

const std::vector<Gpu>& gpu_catalogue() { return gpus().gpus; }

const Gpu* find_gpu_or_null(std::string_view name) {
  const auto at = gpus().by_name.find(plain_name(name));
  return at == gpus().by_name.end() ? nullptr : &gpus().gpus[at->second];
}

const Gpu& find_gpu(std::string_view name) {
  if (const Gpu* gpu = find_gpu_or_null(name)) return *gpu;
  throw InputError("", 0, "", "unknown GPU '" + std::string(name.substr(0, 60)) + "'", gpu_hint(name));
}

std::string gpu_hint(std::string_view name) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < gpus().gpus.size(); ++i) {
    names.push_back(cluster_name_of_gpu(gpus().gpus[i].name));
    names.push_back(gpus().gpus[i].name);
    names.insert(names.end(), gpus().aliases[i].begin(), gpus().aliases[i].end());
  }
  // "H10" is nearer to "H100" than to "A10": names that begin as the word does come first among equals.
  const std::string word = to_lower(name.substr(0, 60));
  auto common = [&](const std::string& candidate) {
    std::size_t n = 0;
    while (n < word.size() && n < candidate.size() && std::tolower(static_cast<unsigned char>(candidate[n])) == word[n])
      ++n;
    return n;
  };
  std::stable_sort(names.begin(), names.end(),
                   [&](const std::string& a, const std::string& b) { return common(a) > common(b); });
  const std::string hint = did_you_mean(word, names);
  return hint.empty() ? "`shardwise gpus` lists them; your own GPU goes into a cluster file" : hint;
}

std::vector<std::string> gpu_aliases(std::string_view name) {
  for (std::size_t i = 0; i < gpus().gpus.size(); ++i)
    if (gpus().gpus[i].name == name) return gpus().aliases[i];
  return {};
}

std::string cluster_name_of_gpu(const std::string& name) {
  for (std::size_t i = 0; i < gpus().gpus.size(); ++i)
    if (gpus().gpus[i].name == name)
      return gpus().aliases[i].empty() || gpus().aliases[i][0].find(' ') != std::string::npos ? name
                                                                                              : gpus().aliases[i][0];
  return name;
}

const std::vector<LinkRow>& link_catalogue() { return links().rows; }

const LinkRow& find_link(std::string_view name) {
  const auto at = links().by_name.find(plain_link(name));
  if (at != links().by_name.end()) return links().rows[at->second];
  std::vector<std::string> names;
  for (const LinkRow& row : links().rows) names.push_back(row.link.name);
  throw InputError("", 0, "", "unknown link '" + std::string(name.substr(0, 60)) + "'",
                   did_you_mean(name.substr(0, 60), names));
}

}  // namespace shardwise
