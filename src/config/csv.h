#pragma once
// CSV of the built-in catalogues, traces and measured tables: a header line, then rows; "quoted, cells" as in RFC 4180.
// Lines that begin with # are comments.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace shardwise {

struct CsvRow {
  int line = 0;                    ///< 1-based
  std::vector<std::string> cells;  ///< as many as the header has
};

struct CsvTable {
  std::string file;  ///< for errors
  std::vector<std::string> header;
  std::vector<CsvRow> rows;
  /// Index of a column; throws InputError if the header lacks it.
  std::size_t column(std::string_view name) const;
  std::optional<std::size_t> find_column(std::string_view name) const;
};

/// Rows of any width, the first one included: of files whose header is optional. Blank lines are skipped; an open quote
/// is an InputError.
std::vector<CsvRow> csv_rows(std::string_view text, const std::string& file);

/// Blank lines are skipped. A row with another number of cells than the header, or an open quote, is an InputError.
CsvTable parse_csv(std::string_view text, const std::string& file);

/// data/NAME, which is part of the binary.
CsvTable embedded_csv(const std::string& name);

/// One row by column names. Every InputError names file, line and column.
class CsvCells {
 public:
  CsvCells(const CsvTable& table, const CsvRow& row) : table_(table), row_(row) {}
  const std::string& text(std::string_view column) const { return row_.cells[table_.column(column)]; }
  std::string_view text_or_empty(std::string_view column) const;  ///< also where the table lacks the column
  std::optional<double> number(std::string_view column) const;    ///< nullopt: empty cell
  double required(std::string_view column) const;
  int whole(std::string_view column) const;
  bool flag(std::string_view column) const;                                            ///< 0 or 1
  std::vector<std::string> list(std::string_view column, char separator = '|') const;  ///< empty cell: empty
  [[noreturn]] void fail(std::string_view column, const std::string& message) const;

 private:
  const CsvTable& table_;
  const CsvRow& row_;
};

}  // namespace shardwise
