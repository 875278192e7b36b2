#pragma once
// CSV rows of the built-in catalogues and of traces: a header line, then rows; "quoted, cells" as in RFC 4180.
#include <string>
#include <string_view>
#include <vector>

namespace shardwise {

struct CsvRow {
  int line = 0;                    ///< 1-based
  std::vector<std::string> cells;  ///< as many as the header has
};

struct CsvTable {
  std::vector<std::string> header;
  std::vector<CsvRow> rows;
  /// Index of a column; throws InputError if the header lacks it.
  std::size_t column(std::string_view name, const std::string& file) const;
};

/// Blank lines are skipped. A row with another number of cells than the header, or an open quote, is an InputError.
CsvTable parse_csv(std::string_view text, const std::string& file);

}  // namespace shardwise
