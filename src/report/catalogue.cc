#include "report/catalogue.h"

#include <fmt/format.h>

#include <cmath>

#include "base/text.h"
#include "config/json.h"
#include "report/report.h"

namespace shardwise {
namespace {

using Align = Table::Align;

Table table_of(std::initializer_list<std::pair<const char*, Align>> columns) {
  Table t;
  for (const auto& [name, align] : columns) t.column(name, align);
  return t;
}

/// Dense peaks by type, in the order of JSON.
constexpr std::pair<GpuDType, const char*> kPeaks[] = {
    {GpuDType::fp32, "fp32"}, {GpuDType::tf32, "tf32"}, {GpuDType::fp16, "fp16"}, {GpuDType::bf16, "bf16"},
    {GpuDType::fp8, "fp8"},   {GpuDType::int8, "int8"}, {GpuDType::fp4, "fp4"}};

std::string tera(const Gpu& gpu, GpuDType type) {
  const auto it = gpu.peak.find(type);
  return it == gpu.peak.end() ? "-" : fmt::format("{:.0f}", it->second.value / 1e12);
}

std::string versions_text(const When& when) {
  const bool since = when.since > always, until = when.until < ever;
  if (!since && !until) return "all";
  return (since ? "from " + to_string(when.since) : "") + (since && until ? " to " : "") +
         (until ? "before " + to_string(when.until) : "");
}

/// {"schema", what: rows}
template <class T, class F>
std::string list_json(const char* what, std::span<const T> items, F&& row) {
  Json rows = Json::array();
  for (const auto& item : items) rows.push_back(row(item));
  return Json{{"schema", "shardwise." + std::string(what) + "/1"}, {what, rows}}.dump(2) + "\n";
}

Json model_json(const Model& m) {
  Json j = {{"name", m.name},
            {"architectures", m.architectures},
            {"model_type", m.model_type},
            {"parameters", std::llround(m.parameters())},
            {"active_parameters", std::llround(m.active_parameters())},
            {"num_hidden_layers", m.num_hidden_layers()},
            {"num_attention_heads", m.num_attention_heads()},
            {"num_key_value_heads", m.num_key_value_heads()},
            {"num_experts", m.num_experts()},
            {"mla", m.is_mla()},
            {"hybrid", m.is_hybrid()},
            {"vision", m.vision.has_value()},
            {"dtype", to_string(m.dtype)}};
  if (!m.quantisation.quant_method.empty()) j["quantization"] = m.quantisation.quant_method;
  if (m.max_position_embeddings) j["max_model_len"] = *m.max_position_embeddings;
  return j;
}

Json gpu_json(const Gpu& g) {
  Json peak = Json::object();
  for (const auto& [type, name] : kPeaks)
    if (const auto it = g.peak.find(type); it != g.peak.end()) peak[name] = it->second.value;
  Json j = {{"name", g.name},
            {"aliases", gpu_aliases(g.name)},
            {"vendor", g.vendor},
            {"architecture", g.architecture},
            {"compute_capability", fmt::format("{}.{}", g.compute_capability / 10, g.compute_capability % 10)},
            {"memory_bytes", g.memory_total.value},
            {"memory_bytes_per_second", g.memory_bandwidth.value},
            {"peak_flops_per_second", peak},
            {"pcie_bytes_per_second", g.pcie_bandwidth.value},
            {"l2_cache_bytes", g.l2_cache.value},
            {"power_watts", g.power.value},
            {"source", g.source},
            {"date", g.date}};
  if (g.scale_up)
    j["scale_up"] = {
        {"name", g.scale_up->name}, {"bytes_per_second", g.scale_up->bandwidth.value}, {"domain", g.scale_up->domain}};
  return j;
}

Json rule_json(const Rule* r) {
  Json j = {{"id", r->id}, {"stage", r->stage()}, {"text", r->text}, {"instead", r->instead}, {"where", r->where}};
  if (r->when.since > always) j["since"] = to_string(r->when.since);
  if (r->when.until < ever) j["until"] = to_string(r->when.until);
  return j;
}

}  // namespace

std::string models_text(std::span<const Model> models, const Style& style) {
  Table t = table_of({{"model", Align::left}, {"what", Align::left}});
  for (const auto& m : models) t.row({m.name, model_line(m)});
  return t.text(style, "");
}

std::string models_json(std::span<const Model> models) { return list_json("models", models, model_json); }

std::string gpus_text(std::span<const Gpu> gpus, const Style& style) {
  Table t = table_of({{"gpu", Align::left},
                      {"arch", Align::left},
                      {"GiB", Align::right},
                      {"GB/s", Align::right},
                      {"bf16 TF", Align::right},
                      {"fp8 TF", Align::right},
                      {"link GB/s", Align::right},
                      {"PCIe GB/s", Align::right},
                      {"L2 MiB", Align::right},
                      {"W", Align::right},
                      {"source", Align::left}});
  for (const auto& g : gpus)
    t.row({g.name, g.architecture, fmt::format("{:.1f}", to_gib(g.memory_total)),
           fmt::format("{:.0f}", g.memory_bandwidth.value / 1e9), tera(g, GpuDType::bf16), tera(g, GpuDType::fp8),
           g.scale_up ? fmt::format("{:.0f}", g.scale_up->bandwidth.value / 1e9) : "-",
           fmt::format("{:.0f}", g.pcie_bandwidth.value / 1e9),
           fmt::format("{:.0f}", static_cast<double>(g.l2_cache.value) / 1048576.0),
           fmt::format("{:.0f}", g.power.value), g.source + ", " + g.date});
  return t.text(style, "");
}

std::string gpus_json(std::span<const Gpu> gpus) { return list_json("gpus", gpus, gpu_json); }

std::string instances_text(std::span<const Instance> instances, const Style& style) {
  Table t = table_of({{"instance", Align::left},
                      {"cloud", Align::left},
                      {"GPU", Align::left},
                      {"GPUs", Align::right},
                      {"NICs", Align::right},
                      {"Gbit/s", Align::right},
                      {"network", Align::left},
                      {"source", Align::left}});
  for (const auto& i : instances)
    t.row({i.name, i.provider, i.gpu, std::to_string(i.gpus), std::to_string(i.nics), number_text(i.gbits), i.network,
           i.source});
  return t.text(style, "");
}

std::string instances_json(std::span<const Instance> instances) {
  return list_json("instances", instances, [](const Instance& i) {
    return Json{{"name", i.name},       {"aliases", i.aliases}, {"provider", i.provider},
                {"gpu", i.gpu},         {"gpus", i.gpus},       {"nics", i.nics},
                {"network", i.network}, {"source", i.source},   {"network_gbit_per_second", i.gbits}};
  });
}

std::string rules_text(std::span<const Rule* const> rules, const Style& style) {
  Table t = table_of({{"rule", Align::left}, {"stage", Align::left}, {"vLLM", Align::left}, {"text", Align::left}});
  for (const auto* r : rules)
    t.row({std::string(r->id), std::string(r->stage()), versions_text(r->when),
           shorten(std::string(r->text), style.width - 70)});
  return t.text(style, "");
}

std::string rule_text(const Rule& r, const Style& style) {
  const auto versions = versions_text(r.when);
  return style.bold(std::string(r.id)) +
         fmt::format(" ({})\n  {}\n  instead: {}\n  vllm/{}\n", r.stage(), r.text, r.instead, r.where) +
         (versions == "all" ? "" : "  versions: " + versions + "\n");
}

std::string rules_json(std::span<const Rule* const> rules) { return list_json("rules", rules, rule_json); }

}  // namespace shardwise
