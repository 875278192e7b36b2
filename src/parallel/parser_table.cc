#include "parallel/parser_table.h"

#include <algorithm>

#include "base/text.h"
#include "config/csv.h"
#include "parallel/checked_versions.h"

namespace shardwise {
namespace {

FlagVersions row_versions(const CsvCells& cells) {
  FlagVersions versions;
  if (const auto& since = cells.text("since"); !since.empty()) versions.since = parse_vllm_version(since);
  if (const auto& gone = cells.text("gone"); !gone.empty()) versions.gone = parse_vllm_version(gone);
  return versions;
}

std::vector<std::string> spaced(const std::string& text) {
  return text.empty() ? std::vector<std::string>{} : split(text, ' ');
}

ArgumentRow argument_row(const CsvCells& cells) {
  ArgumentRow row;
  row.name = cells.text("name");
  row.spelled = spaced(cells.text("spelled"));
  row.off = spaced(cells.text("off"));
  row.words = cells.text("words").front();
  row.reads = cells.text("reads");
  row.optional = row.reads.ends_with('?');
  if (row.optional) row.reads.pop_back();
  row.type = cells.text("type");
  row.field = cells.text("field");
  if (cells.text("part") == "server") row.part = FlagPart::server;
  row.versions = row_versions(cells);
  return row;
}

std::vector<ArgumentRow> read_arguments() {
  const CsvTable table = embedded_csv("vllm/arguments.csv");
  std::vector<ArgumentRow> rows;
  for (const auto& line : table.rows) rows.push_back(argument_row({table, line}));
  return rows;
}

std::vector<ConfigFieldRow> read_fields() {
  const CsvTable table = embedded_csv("vllm/config_fields.csv");
  std::vector<ConfigFieldRow> rows;
  for (const auto& line : table.rows) {
    const CsvCells cells(table, line);
    rows.push_back({cells.text("class"), cells.text("field"), cells.text("type"), cells.text("default"),
                    cells.flag("required"), row_versions(cells)});
  }
  return rows;
}

const std::vector<ConfigFieldRow>& field_table() {
  static const auto rows = read_fields();
  return rows;
}

}  // namespace

const std::vector<ArgumentRow>& argument_rows() {
  static const auto rows = read_arguments();
  return rows;
}

VllmVersion newest_read_version() { return checked_versions().back().version; }

std::vector<const ConfigFieldRow*> config_fields(std::string_view config, VllmVersion version) {
  std::vector<const ConfigFieldRow*> found;
  for (const auto& row : field_table())
    if (row.config == config && !row.field.empty() && row.versions.contains(version)) found.push_back(&row);
  return found;
}

bool config_is_open(std::string_view config, VllmVersion version) {
  const auto& rows = field_table();
  return std::any_of(rows.begin(), rows.end(), [&](const ConfigFieldRow& row) {
    return row.config == config && row.field.empty() && row.versions.contains(version) && row.type == "open";
  });
}

std::string versions_with_field(std::string_view config, std::string_view field) {
  VllmVersion since = ever, gone = always;
  for (const auto& row : field_table())
    if (row.config == config && row.field == field)
      since = std::min(since, row.versions.since), gone = std::max(gone, row.versions.gone);
  if (gone == always) return "";
  return "vLLM has it" + (since == always ? "" : " from " + to_string(since) + " on") +
         (gone == ever ? "" : ", until before " + to_string(gone));
}

}  // namespace shardwise
