#include "base/embedded.h"

#include <algorithm>
#include <span>

#include "base/embedded_table.h"

namespace shardwise {
namespace {
std::span<const EmbeddedEntry> entries() { return {embedded_table, embedded_table_size}; }
}  // namespace

std::optional<std::string_view> embedded_file(std::string_view name) {
  const auto all = entries();
  const auto it = std::find_if(all.begin(), all.end(), [&](const EmbeddedEntry& e) { return name == e.name; });
  if (it == all.end()) return std::nullopt;
  return std::string_view(it->begin, static_cast<std::size_t>(it->end - it->begin));
}

std::vector<std::string_view> embedded_files(std::string_view prefix) {
  std::vector<std::string_view> names;
  for (const auto& entry : entries())
    if (std::string_view(entry.name).starts_with(prefix)) names.emplace_back(entry.name);
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace shardwise
