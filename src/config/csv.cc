#include "config/csv.h"

#include <algorithm>

#include "base/input_error.h"
#include "base/text.h"

namespace shardwise {
namespace {

/// Reads one record from the front of `text`; `line` counts the line ends taken.
std::vector<std::string> take_record(std::string_view& text, int& line, const std::string& file) {
  std::vector<std::string> cells(1);
  const int first_line = line;
  std::size_t i = 0;
  bool quoted = false;
  for (; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\n') ++line;
      if (c != '"') {
        cells.back() += c;
      } else if (i + 1 < text.size() && text[i + 1] == '"') {
        cells.back() += '"';
        ++i;
      } else {
        quoted = false;
      }
    } else if (c == '"' && cells.back().empty()) {
      quoted = true;
    } else if (c == ',') {
      cells.emplace_back();
    } else if (c == '\n') {
      ++i;
      break;
    } else if (c != '\r') {
      cells.back() += c;
    }
  }
  if (quoted) throw InputError(file, first_line, "", "a quoted cell is not closed");
  ++line;
  text.remove_prefix(i);
  return cells;
}

}  // namespace

std::size_t CsvTable::column(std::string_view name, const std::string& file) const {
  const auto at = std::find(header.begin(), header.end(), name);
  if (at != header.end()) return static_cast<std::size_t>(at - header.begin());
  const std::string hint = did_you_mean(name, header);
  throw InputError(file, 1, "", "no column '" + std::string(name) + "'",
                   hint.empty() ? "columns: " + join(header, ", ") : hint);
}

CsvTable parse_csv(std::string_view text, const std::string& file) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  CsvTable table;
  int line = 1;
  while (!text.empty()) {
    const int first_line = line;
    std::vector<std::string> cells = take_record(text, line, file);
    if (cells.size() == 1 && trim(cells[0]).empty()) continue;
    if (table.header.empty()) {
      for (auto& cell : cells) table.header.emplace_back(trim(cell));
      continue;
    }
    if (cells.size() != table.header.size())
      throw InputError(
          file, first_line, "",
          std::to_string(cells.size()) + " cells, but the header has " + std::to_string(table.header.size()));
    table.rows.push_back({first_line, std::move(cells)});
  }
  return table;
}

}  // namespace shardwise
