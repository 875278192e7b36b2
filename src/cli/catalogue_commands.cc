#include <fmt/format.h>

#include <algorithm>

#include "base/input_error.h"
#include "base/text.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "config/text_source.h"
#include "hardware/hardware.h"
#include "model/load.h"
#include "parallel/rules.h"
#include "report/report.h"

namespace shardwise {
namespace {

int list_models(const std::string& name) {
  Table t;
  t.column("model", Table::Align::left);
  t.column("what", Table::Align::left);
  DiskSource disk;
  for (const auto& m : bundled_models()) {
    if (!name.empty() && to_lower(m.name).find(to_lower(name)) == std::string::npos) continue;
    t.row({m.name, model_line(load_model(m.name, disk))});
  }
  Style style;
  style.width = 160;
  print(t.text(style, ""));
  return kExitFound;
}

int list_gpus(const std::string& name) {
  Table t;
  for (const char* header : {"gpu", "arch"}) t.column(header, Table::Align::left);
  for (const char* header : {"GiB", "GB/s", "bf16 TF", "fp8 TF", "link GB/s", "PCIe GB/s", "L2 MiB", "W"})
    t.column(header);
  t.column("source", Table::Align::left);
  for (const auto& g : gpu_catalogue()) {
    if (!name.empty() && to_lower(g.name).find(to_lower(name)) == std::string::npos) continue;
    const auto peak = [&](GpuDType d) {
      const auto it = g.peak.find(d);
      return it == g.peak.end() ? std::string("-") : fmt::format("{:.0f}", it->second.value / 1e12);
    };
    t.row({g.name, g.architecture, fmt::format("{:.1f}", to_gib(g.memory_total)),
           fmt::format("{:.0f}", g.memory_bandwidth.value / 1e9), peak(GpuDType::bf16), peak(GpuDType::fp8),
           g.scale_up ? fmt::format("{:.0f}", g.scale_up->bandwidth.value / 1e9) : "-",
           fmt::format("{:.0f}", g.pcie_bandwidth.value / 1e9),
           fmt::format("{:.0f}", static_cast<double>(g.l2_cache.value) / 1048576.0),
           fmt::format("{:.0f}", g.power.value), g.source + ", " + g.date});
  }
  Style style;
  style.width = 240;
  print(t.text(style, ""));
  return kExitFound;
}

int list_instances(const std::string& name) {
  Table t;
  for (const char* header : {"instance", "cloud", "GPU"}) t.column(header, Table::Align::left);
  for (const char* header : {"GPUs", "NICs", "Gbit/s"}) t.column(header);
  for (const char* header : {"network", "source"}) t.column(header, Table::Align::left);
  for (const auto& i : instances())
    if (name.empty() || to_lower(i.name + " " + i.gpu).find(to_lower(name)) != std::string::npos)
      t.row({i.name, i.provider, i.gpu, std::to_string(i.gpus), std::to_string(i.nics), number_text(i.gbits), i.network,
             i.source});
  Style style;
  style.width = 240;
  print(t.text(style, ""));
  return kExitFound;
}

}  // namespace

Handler add_rules(Command command, const std::vector<std::string>&) {
  auto id = std::make_shared<std::string>();
  command.option("id", *id, "one rule in full");
  return [id] {
    Style style;
    style.width = 160;
    const auto text = rules_text(*id, style);
    if (text.empty()) {
      std::vector<std::string> ids;
      for (const auto* r : rules()) ids.emplace_back(r->id);
      throw InputError("rules", 0, "", "unknown rule '" + *id + "'", did_you_mean(*id, ids));
    }
    print(text);
    return kExitFound;
  };
}

Handler add_models(Command command, const std::vector<std::string>&) {
  auto name = std::make_shared<std::string>();
  command.option("name", *name, "part of a name");
  return [name] { return list_models(*name); };
}

Handler add_gpus(Command command, const std::vector<std::string>&) {
  auto name = std::make_shared<std::string>();
  auto clouds = std::make_shared<bool>(false);
  command.option("name", *name, "part of a name");
  command.flag("--instances", *clouds, "the instances of clouds instead");
  return [name, clouds] { return *clouds ? list_instances(*name) : list_gpus(*name); };
}

}  // namespace shardwise
