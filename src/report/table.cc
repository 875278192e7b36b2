#include "report/table.h"

#include <algorithm>
#include <cmath>

namespace shardwise {

std::size_t display_width(const std::string& text) {
  std::size_t width = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {
      while (i < text.size() && text[i] != 'm') ++i;
    } else if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80) {
      ++width;
    }
  }
  return width;
}

std::string shorten(const std::string& text, int room) {
  const auto most = static_cast<std::size_t>(std::max(room, 12));
  return text.size() <= most ? text : text.substr(0, most - 3) + "...";
}

namespace {
/// The first `width - 3` visible columns and "..."; escape sequences are kept whole.
std::string cut_to(const std::string& text, std::size_t width) {
  std::string out;
  std::size_t shown = 0;
  bool escaped = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\x1b') {
      escaped = true;
      while (i < text.size() && text[i] != 'm') out += text[i++];
      if (i < text.size()) out += text[i];
      continue;
    }
    if ((static_cast<unsigned char>(text[i]) & 0xC0) != 0x80 && shown++ >= width - 3) break;
    out += text[i];
  }
  return out + "..." + (escaped ? "\x1b[0m" : "");
}
}  // namespace

void Table::column(std::string header, Align align, std::optional<std::size_t> rank) {
  columns_.push_back({std::move(header), align, rank.value_or(columns_.size())});
}

void Table::row(std::vector<std::string> cells) {
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

Table::Layout Table::layout(const Style& style, const std::string& indent) const {
  Layout out;
  std::size_t total = indent.size();
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    std::size_t width = display_width(columns_[c].header);
    for (const auto& row : rows_) width = std::max(width, display_width(row[c]));
    out.widths.push_back(width);
    total += width + 2;
  }
  out.shown.assign(columns_.size(), true);
  // A last column of text is cut before whole columns go.
  const auto most = static_cast<std::size_t>(style.width) + 2;
  if (columns_.size() > 1 && columns_.back().align == Align::left && total > most &&
      out.widths.back() > 20 + (total - most)) {
    out.cut = out.widths.back() -= total - most;
    return out;
  }
  while (total > most) {
    std::size_t last = 1;
    for (std::size_t c = 2; c < columns_.size(); ++c)
      if (out.shown[c] && (last == 1 || columns_[c].rank >= columns_[last].rank)) last = c;
    if (last == 1) break;
    out.shown[last] = false;
    total -= out.widths[last] + 2;
  }
  return out;
}

std::optional<std::size_t> Table::dropped_rank(const Style& style, const std::string& indent) const {
  const auto l = layout(style, indent);
  std::optional<std::size_t> least;
  for (std::size_t c = 0; c < columns_.size(); ++c)
    if (!l.shown[c]) least = std::min(least.value_or(columns_[c].rank), columns_[c].rank);
  return least;
}

std::string Table::text(const Style& style, const std::string& indent) const {
  const auto l = layout(style, indent);
  const auto last =
      static_cast<std::size_t>(std::find(l.shown.rbegin(), l.shown.rend(), true).base() - l.shown.begin());
  const auto line = [&](const auto& cell_of, bool header) {
    std::string out = indent;
    for (std::size_t c = 0; c < last; ++c) {
      if (!l.shown[c]) continue;
      std::string cell = cell_of(c);
      if (l.cut > 0 && c + 1 == columns_.size() && display_width(cell) > l.cut) cell = cut_to(cell, l.cut);
      const std::string space(l.widths[c] - std::min(l.widths[c], display_width(cell)), ' ');
      const std::string text = header ? style.dim(cell) : cell;
      out += columns_[c].align == Align::right ? space + text : c + 1 == last ? text : text + space;
      if (c + 1 < last) out += "  ";
    }
    while (!out.empty() && out.back() == ' ') out.pop_back();
    return out + "\n";
  };
  std::string out;
  if (std::any_of(columns_.begin(), columns_.end(), [](const Column& c) { return !c.header.empty(); }))
    out += line([&](std::size_t c) { return columns_[c].header; }, true);
  for (const auto& row : rows_) out += line([&](std::size_t c) { return row[c]; }, false);
  std::string names;
  for (std::size_t c = 0; c < columns_.size(); ++c)
    if (!l.shown[c] && !columns_[c].header.empty()) names += (names.empty() ? "" : ", ") + columns_[c].header;
  if (!names.empty()) out += indent + style.dim("(a wider terminal also shows: " + names + ")") + "\n";
  return out;
}

std::string heading(const Style& style, const std::string& text) { return "\n" + style.bold(text) + "\n"; }

std::string paragraph(const Style& style, const std::string& text) {
  return "  " + wrap(text, std::max(40, style.width - 4), "    ") + "\n";
}

std::string wrap(const std::string& text, int width, const std::string& indent) {
  std::string out;
  std::size_t column = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find(' ', at), text.size());
    const std::string word = text.substr(at, end - at);
    const std::size_t length = display_width(word);
    if (column > 0 && column + 1 + length > static_cast<std::size_t>(width)) {
      out += "\n" + indent;
      column = indent.size();
    } else if (column > 0) {
      out += ' ';
      ++column;
    }
    out += word;
    column += length;
    at = end + 1;
  }
  return out;
}

std::string bar(const std::vector<BarPart>& parts, double total, int width) {
  std::string out;
  double sum = 0;
  for (const auto& part : parts) {
    sum += part.amount;
    const auto upto = static_cast<std::size_t>(std::lround(std::clamp(sum / total, 0.0, 1.0) * width));
    if (upto == out.size() && upto < static_cast<std::size_t>(width) && part.amount / total > 0.004) out += part.letter;
    while (out.size() < upto) out += part.letter;
  }
  out.resize(static_cast<std::size_t>(width), '.');
  return out;
}

}  // namespace shardwise
