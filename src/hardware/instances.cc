#include <algorithm>
#include <cctype>

#include "base/text.h"
#include "config/csv.h"
#include "config/quantity.h"
#include "hardware/catalogue.h"
#include "hardware/hardware.h"

namespace shardwise {
namespace {

std::string plain_instance(std::string_view name) {
  std::string out;
  for (const char c : to_lower(name))
    if (std::isalnum(static_cast<unsigned char>(c))) out += c;
  for (const std::string_view prefix : {"standard", "ml"})
    if (out.starts_with(prefix) && out.size() > prefix.size()) out.erase(0, prefix.size());
  return out;
}

}  // namespace

const std::vector<Instance>& instances() {
  static const std::vector<Instance> rows = [] {
    std::vector<Instance> out;
    const CsvTable table = embedded_csv("instances/instances.csv");
    for (const CsvRow& row : table.rows) {
      const CsvCells cells(table, row);
      auto& instance = out.emplace_back();
      instance.name = cells.text("name");
      instance.provider = cells.text("provider");
      instance.aliases = cells.list("aliases");
      instance.gpu = find_gpu(cells.text("gpu")).name;
      instance.gpus = cells.whole("gpus");
      if (!cells.text("scale_up_domain").empty()) instance.scale_up_domain = cells.whole("scale_up_domain");
      instance.network = cells.text("network");
      instance.nics = cells.whole("nics");
      instance.gbits = cells.required("gbits");
      instance.source = cells.text("source");
    }
    return out;
  }();
  return rows;
}

const Instance* find_instance(std::string_view name) {
  const auto wanted = plain_instance(name);
  const auto named = [&](const Instance& i) {
    return plain_instance(i.name) == wanted ||
           std::ranges::any_of(i.aliases, [&](const auto& alias) { return plain_instance(alias) == wanted; });
  };
  const auto at = std::ranges::find_if(instances(), named);
  return at == instances().end() ? nullptr : &*at;
}

Node instance_node(const Instance& instance) {
  Node node = default_node(find_gpu(instance.gpu), instance.gpus);
  if (instance.scale_up_domain) node.scale_up_domain = *instance.scale_up_domain;
  node.nics = instance.nics;
  node.network = find_link(instance.network).link;
  node.network.bandwidth = gb_per_second(instance.gbits / 8 / instance.gpus);
  return node;
}

}  // namespace shardwise
