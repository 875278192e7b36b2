#include <algorithm>
#include <iterator>
#include <map>

#include "config/csv.h"
#include "parallel/model_facts.h"

namespace shardwise {
namespace {

std::vector<VllmVersion> versions(const CsvCells& cells, const char* column) {
  std::vector<VllmVersion> out;
  for (const auto& word : cells.list(column, ' ')) out.push_back(parse_vllm_version(word));
  return out;
}

/// The versions whose registry and configuration readers were read.
constexpr VllmVersion kRead[] = {{0, 16, 0}, {0, 20, 2}, {0, 24, 0}, {0, 26, 0},
                                 {0, 28, 0}, {0, 30, 0}, {0, 32, 0}, {0, 33, 0}};

/// Index of the nearest of them at or below `version`; the first if there is none.
std::size_t nearest_read(VllmVersion version) {
  std::size_t at = 0;
  for (std::size_t i = 0; i < std::size(kRead); ++i)
    if (kRead[i] <= version) at = i;
  return at;
}

bool holds(const std::vector<VllmVersion>& list, VllmVersion version) {
  return std::find(list.begin(), list.end(), version) != list.end();
}

/// Whether `version` is in a list that was read at some versions only: the nearest version that was read decides.
bool holds_at(const std::vector<VllmVersion>& list, VllmVersion version) {
  return holds(list, kRead[nearest_read(version)]);
}

}  // namespace

bool ArchitectureRow::registered(VllmVersion version) const { return holds_at(registered_in, version); }
bool ArchitectureRow::supports_pp(VllmVersion version) const { return holds_at(pp_in, version); }

const ArchitectureRow* find_architecture(std::string_view name) {
  static const auto rows = [] {
    std::map<std::string, ArchitectureRow, std::less<>> map;
    const CsvTable table = embedded_csv("vllm/architectures.csv");
    for (const auto& line : table.rows) {
      const CsvCells cells(table, line);
      ArchitectureRow row;
      row.name = cells.text("architecture");
      row.module = cells.text("module");
      row.kind = cells.text("kind");
      row.is_hybrid = cells.flag("is_hybrid");
      row.is_attention_free = cells.flag("is_attention_free");
      row.has_inner_state = cells.flag("has_inner_state");
      row.supports_multimodal = cells.flag("supports_multimodal");
      row.has_noops = cells.flag("has_noops");
      row.registered_in = versions(cells, "versions");
      row.pp_in = versions(cells, "pp_versions");
      row.passes_eplb = cells.flag("eplb");
      map.emplace(row.name, std::move(row));
    }
    return map;
  }();
  const auto it = rows.find(name);
  return it == rows.end() ? nullptr : &it->second;
}

bool knows_model_type(std::string_view model_type, VllmVersion version) {
  static const auto unknown = [] {
    std::map<std::string, std::vector<VllmVersion>, std::less<>> map;
    const CsvTable table = embedded_csv("vllm/model_types.csv");
    for (const auto& row : table.rows) {
      const CsvCells cells(table, row);
      map.emplace(cells.text("model_type"), versions(cells, "unknown_in"));
    }
    return map;
  }();
  const auto it = unknown.find(model_type);
  if (it == unknown.end()) return true;
  const auto at = nearest_read(version);
  if (!holds(it->second, kRead[at])) return true;
  const bool between = kRead[at] < version && at + 1 < std::size(kRead);
  return between && !holds(it->second, kRead[at + 1]);
}

}  // namespace shardwise
