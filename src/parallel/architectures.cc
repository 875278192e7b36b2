#include <algorithm>
#include <iterator>
#include <map>
#include <unordered_map>
#include <utility>

#include "base/embedded.h"
#include "base/text.h"
#include "parallel/model_facts.h"

namespace shardwise {
namespace {

std::vector<VllmVersion> versions(const std::string& cell) {
  std::vector<VllmVersion> out;
  if (cell.empty()) return out;
  for (const auto& word : split(cell, ' ')) out.push_back(parse_vllm_version(word));
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
  static const auto* rows = [] {
    auto* map = new std::unordered_map<std::string_view, ArchitectureRow>;
    static std::vector<std::string> names;
    const auto text = embedded_file("vllm/architectures.csv").value_or("");
    const auto lines = split(text, '\n');
    names.reserve(lines.size());
    bool header = true;
    for (const auto& line : lines) {
      if (line.empty() || line[0] == '#') continue;
      if (std::exchange(header, false)) continue;
      const auto c = split(line, ',');
      ArchitectureRow row;
      row.name = c[0];
      row.module = c[1];
      row.kind = c[3];
      row.is_hybrid = c[5] == "1";
      row.is_attention_free = c[6] == "1";
      row.has_inner_state = c[7] == "1";
      row.supports_multimodal = c[8] == "1";
      row.has_noops = c[9] == "1";
      row.registered_in = versions(c[10]);
      row.pp_in = versions(c[11]);
      row.passes_eplb = c[12] == "1";
      names.push_back(row.name);
      map->emplace(names.back(), std::move(row));
    }
    return map;
  }();
  const auto it = rows->find(name);
  return it == rows->end() ? nullptr : &it->second;
}

bool knows_model_type(std::string_view model_type, VllmVersion version) {
  static const auto* unknown = [] {
    auto* map = new std::map<std::string, std::vector<VllmVersion>, std::less<>>;
    bool header = true;
    for (const auto& line : split(embedded_file("vllm/model_types.csv").value_or(""), '\n')) {
      if (line.empty() || line[0] == '#' || std::exchange(header, false)) continue;
      const auto cells = split(line, ',');
      map->emplace(cells.at(0), versions(cells.at(1)));
    }
    return map;
  }();
  const auto it = unknown->find(model_type);
  if (it == unknown->end()) return true;
  const auto at = nearest_read(version);
  if (!holds(it->second, kRead[at])) return true;
  const bool between = kRead[at] < version && at + 1 < std::size(kRead);
  return between && !holds(it->second, kRead[at + 1]);
}

}  // namespace shardwise
