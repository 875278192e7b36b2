#pragma once
// Aligned text for terminals.
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace shardwise {

/// How to write: colours only where the reader is a terminal, lines no wider than it.
struct Style {
  bool color = false;
  int width = 100;
  std::string bold(const std::string& s) const { return paint("1", s); }
  std::string dim(const std::string& s) const { return paint("2", s); }
  std::string good(const std::string& s) const { return paint("32", s); }
  std::string bad(const std::string& s) const { return paint("31", s); }
  std::string accent(const std::string& s) const { return paint("36", s); }
  std::string paint(const char* code, const std::string& s) const {
    return color ? "\x1b[" + std::string(code) + "m" + s + "\x1b[0m" : s;
  }
};

/// Columns visible on a terminal: UTF-8 code points, escape sequences not counted.
std::size_t display_width(const std::string& text);

/// At most `room` columns, "..." where something was cut.
std::string shorten(const std::string& text, int room);

class Table {
 public:
  enum class Align { left, right };
  /// `rank`: columns of higher rank are dropped first where the terminal is narrow; not given: from the right.
  void column(std::string header, Align align = Align::right, std::optional<std::size_t> rank = std::nullopt);
  void row(std::vector<std::string> cells);
  /// Lines with two spaces between columns. Columns that do not fit `style.width` are dropped, except the first two;
  /// the dropped ones are named in a last line.
  std::string text(const Style& style, const std::string& indent = "  ") const;
  /// The lowest rank that is dropped at that width.
  std::optional<std::size_t> dropped_rank(const Style& style, const std::string& indent = "  ") const;

 private:
  struct Column {
    std::string header;
    Align align;
    std::size_t rank;
  };
  struct Layout {
    std::vector<std::size_t> widths;
    std::vector<bool> shown;
    std::size_t cut = 0;  ///< width of a last column of text that is cut; 0 = none is
  };
  Layout layout(const Style& style, const std::string& indent) const;
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

/// Breaks text at spaces so that no line is wider than `width`; following lines are indented by `indent`.
std::string wrap(const std::string& text, int width, const std::string& indent);

/// A title above a part of the answer, after an empty line.
std::string heading(const Style& style, const std::string& text);
/// Text indented by two, its following lines by four, four columns short of the style's width.
std::string paragraph(const Style& style, const std::string& text);

/// A bar of `width` cells whose parts are proportional to `parts` of `total`: one letter a part, '.' for the rest.
struct BarPart {
  char letter;
  double amount;
};
std::string bar(const std::vector<BarPart>& parts, double total, int width);

}  // namespace shardwise
