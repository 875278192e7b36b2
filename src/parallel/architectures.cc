#include <algorithm>
#include <array>
#include <iterator>
#include <map>

#include "base/text.h"
#include "config/csv.h"
#include "parallel/model_facts.h"

namespace shardwise {
namespace {

/// The first and the last version whose registry and configuration readers were read.
constexpr VllmVersion kFirstRead{0, 16, 0}, kLastRead{0, 33, 0};

/// The Transformers release that a vLLM version is installed with, as far as those read tell: the requirement of its
/// wheel bounds it, a recorded installation names it.
struct Installed {
  VllmVersion since, transformers;
};
constexpr Installed kInstalled[] = {
    {{0, 0, 0}, {4, 57, 6}}, {{0, 19, 1}, {5, 8, 1}}, {{0, 21, 0}, {5, 12, 1}}, {{0, 25, 0}, {5, 19, 0}}};

bool holds(const std::vector<VersionSpan>& spans, VllmVersion version) {
  return std::any_of(spans.begin(), spans.end(), [&](const VersionSpan& s) { return s.contains(version); });
}

/// An older version than the first that was read has at most what that one has.
VllmVersion read_version(VllmVersion version) { return std::max(version, kFirstRead); }

VersionSpan parse_span(const std::string& since, const std::string& gone) {
  return {parse_vllm_version(since), gone.empty() ? ever : parse_vllm_version(gone)};
}

/// "0.16.0..0.27.0 0.32.0.."
std::vector<VersionSpan> spans_of(const CsvCells& cells, const char* column) {
  std::vector<VersionSpan> out;
  for (const auto& word : cells.list(column, ' ')) {
    const auto dots = word.find("..");
    out.push_back(parse_span(word.substr(0, dots), word.substr(dots + 2)));
  }
  return out;
}

using Spans = std::map<std::string, std::vector<VersionSpan>, std::less<>>;

bool holds(const Spans& table, std::string_view name, VllmVersion version) {
  const auto it = table.find(name);
  return it != table.end() && holds(it->second, version);
}

/// Rows of "NAME,since,gone" of one reader; "" = of a table without readers.
Spans read_spans(const char* file, const char* name, std::string_view reader) {
  Spans out;
  const CsvTable table = embedded_csv(file);
  for (const auto& row : table.rows) {
    const CsvCells cells(table, row);
    if (reader.empty() || cells.text("reader") == reader)
      out[cells.text(name)].push_back(parse_span(cells.text("since"), cells.text("gone")));
  }
  return out;
}

/// Suffixes of classes that vLLM makes of a generating one (config/model.py iter_architecture_defaults).
constexpr std::array<std::string_view, 2> kGenerates = {"ForCausalLM", "ForConditionalGeneration"};
constexpr std::array<std::string_view, 6> kPools = {"ForTextEncoding",   "EmbeddingModel", "ForSequenceClassification",
                                                    "ForRewardModeling", "RewardModel",    "Model"};

}  // namespace

bool ArchitectureRow::registered(VllmVersion version) const { return holds(registered_in, read_version(version)); }
bool ArchitectureRow::supports_pp(VllmVersion version) const { return holds(pp_in, read_version(version)); }

bool ArchitectureRow::supports_lora(VllmVersion version) const { return holds(lora_in, read_version(version)); }

bool registry_known(VllmVersion version) { return version <= kLastRead; }

VllmVersion transformers_of(VllmVersion version) {
  VllmVersion out = kInstalled[0].transformers;
  for (const auto& row : kInstalled)
    if (row.since <= version) out = row.transformers;
  return out;
}

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
      row.registered_in = spans_of(cells, "versions");
      row.pp_in = spans_of(cells, "pp_versions");
      row.lora_in = spans_of(cells, "lora_versions");
      row.passes_eplb = cells.flag("eplb");
      map.emplace(row.name, std::move(row));
    }
    return map;
  }();
  const auto it = rows.find(name);
  return it == rows.end() ? nullptr : &it->second;
}

const ArchitectureRow* generating_architecture(std::string_view name) {
  for (const auto pooling : kPools)
    if (name.ends_with(pooling))
      for (const auto generating : kGenerates)
        if (const auto* row =
                find_architecture(std::string(name.substr(0, name.size() - pooling.size())) + std::string(generating)))
          return row;
  return nullptr;
}

bool transformers_serves(std::string_view architecture, VllmVersion version) {
  static const auto classes = read_spans("vllm/transformers_classes.csv", "architecture", "");
  return holds(classes, architecture, transformers_of(version));
}

bool transformers_knows(std::string_view model_type, VllmVersion version) {
  static const auto types = read_spans("vllm/model_types.csv", "model_type", "transformers");
  return holds(types, model_type, transformers_of(version));
}

bool knows_model_type(std::string_view model_type, VllmVersion version) {
  static const auto own = read_spans("vllm/model_types.csv", "model_type", "vllm"),
                    unreadable = read_spans("vllm/model_types.csv", "model_type", "unreadable");
  if (holds(unreadable, model_type, read_version(version))) return false;
  return !registry_known(version) || holds(own, model_type, read_version(version)) ||
         transformers_knows(model_type, version);
}

}  // namespace shardwise
