#include "config/csv.h"

#include <algorithm>

#include "base/embedded.h"
#include "base/input_error.h"
#include "base/text.h"
#include "config/quantity.h"

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

std::optional<std::size_t> CsvTable::find_column(std::string_view name) const {
  const auto at = std::find(header.begin(), header.end(), name);
  return at == header.end() ? std::nullopt : std::optional(static_cast<std::size_t>(at - header.begin()));
}

std::size_t CsvTable::column(std::string_view name) const {
  if (const auto at = find_column(name)) return *at;
  const std::string hint = did_you_mean(name, header);
  throw InputError(file, 1, "", "no column '" + std::string(name) + "'",
                   hint.empty() ? "columns: " + join(header, ", ") : hint);
}

std::vector<CsvRow> csv_rows(std::string_view text, const std::string& file) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  std::vector<CsvRow> rows;
  int line = 1;
  while (!text.empty()) {
    if (text.front() == '#') {
      text.remove_prefix(std::min(text.find('\n'), text.size() - 1) + 1);
      ++line;
      continue;
    }
    const int first_line = line;
    auto cells = take_record(text, line, file);
    if (cells.size() > 1 || !trim(cells[0]).empty()) rows.push_back({first_line, std::move(cells)});
  }
  return rows;
}

CsvTable parse_csv(std::string_view text, const std::string& file) {
  CsvTable table{file, {}, csv_rows(text, file)};
  if (table.rows.empty()) return table;
  for (const auto& cell : table.rows.front().cells) table.header.emplace_back(trim(cell));
  table.rows.erase(table.rows.begin());
  for (const auto& row : table.rows)
    if (row.cells.size() != table.header.size())
      throw InputError(
          file, row.line, "",
          std::to_string(row.cells.size()) + " cells, but the header has " + std::to_string(table.header.size()));
  return table;
}

CsvTable embedded_csv(const std::string& name) {
  const auto text = embedded_file(name);
  if (!text) throw InputError("data/" + name, 0, "", "missing from this build");
  return parse_csv(*text, "data/" + name);
}

std::string_view CsvCells::text_or_empty(std::string_view column) const {
  const auto at = table_.find_column(column);
  return at ? std::string_view(row_.cells[*at]) : std::string_view();
}

std::optional<double> CsvCells::number(std::string_view column) const {
  const std::string& cell = text(column);
  if (cell.empty()) return std::nullopt;
  double value = 0;
  if (!parse_number(cell, value)) fail(column, "'" + cell + "' is not a number");
  return value;
}

double CsvCells::required(std::string_view column) const {
  const auto value = number(column);
  if (!value) fail(column, "is missing");
  return *value;
}

int CsvCells::whole(std::string_view column) const {
  const std::string& cell = text(column);
  std::int64_t value = 0;
  if (!parse_number(cell, value) || std::abs(value) > 2'000'000'000) fail(column, "'" + cell + "' is no whole number");
  return static_cast<int>(value);
}

bool CsvCells::flag(std::string_view column) const {
  const int value = whole(column);
  if (value != 0 && value != 1) fail(column, "must be 0 or 1");
  return value == 1;
}

std::vector<std::string> CsvCells::list(std::string_view column, char separator) const {
  const std::string& cell = text(column);
  return cell.empty() ? std::vector<std::string>{} : split(cell, separator);
}

void CsvCells::fail(std::string_view column, const std::string& message) const {
  throw InputError(table_.file, row_.line, std::string(column), message);
}

}  // namespace shardwise
