#include "parallel/python_text.h"

#include <cctype>
#include <charconv>
#include <cmath>
#include <limits>

#include "base/text.h"

namespace shardwise {
namespace {

bool is_digit(char c) { return std::isdigit(static_cast<unsigned char>(c)) != 0; }
bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

/// Without the single _ that may stand between two digits; nullopt where one stands elsewhere.
std::optional<std::string> without_underscores(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '_')
      out += text[i];
    else if (i == 0 || i + 1 == text.size() || !is_digit(text[i - 1]) || !is_digit(text[i + 1]))
      return std::nullopt;
  }
  return out;
}

template <class T>
std::optional<T> whole_text(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

std::optional<double> special_float(std::string_view text) {
  auto word = to_lower(text);
  const bool negative = word.starts_with('-');
  if (negative) word.erase(0, 1);
  if (word == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (word == "inf" || word == "infinity")
    return negative ? -std::numeric_limits<double>::infinity() : std::numeric_limits<double>::infinity();
  return std::nullopt;
}

std::string_view unsigned_part(std::string_view text) {
  if (text.starts_with('+') && text.size() > 1 && text[1] != '-') text.remove_prefix(1);
  return text;
}

constexpr std::string_view kDecimal = "kmgt", kBinary = "KMGT";

std::optional<std::int64_t> decimal_int(std::string_view digits, std::size_t power) {
  if (!is_digit(digits.front()) || !is_digit(digits.back())) return std::nullopt;
  const auto number = whole_text<double>(digits);
  if (!number) return std::nullopt;
  const double scaled = *number * std::pow(1000.0, static_cast<double>(power + 1));
  if (!(scaled < 9e18)) return std::nullopt;
  return static_cast<std::int64_t>(scaled);
}

std::optional<std::int64_t> binary_int(std::string_view digits, std::size_t power) {
  const auto whole = whole_text<std::int64_t>(digits);
  const int shift = 10 * (static_cast<int>(power) + 1);
  if (!whole || *whole > (std::int64_t{1} << (62 - shift))) return std::nullopt;
  return *whole << shift;
}

/// Where the number that begins at `i` ends, if it is a whole word with a suffix; nullopt if not.
std::optional<std::size_t> suffixed_number(std::string_view text, std::size_t i) {
  if (!is_digit(text[i]) || (i > 0 && is_word(text[i - 1]))) return std::nullopt;
  while (i < text.size() && (is_digit(text[i]) || text[i] == '.')) ++i;
  if (i == text.size() || (kDecimal.find(text[i]) == kDecimal.npos && kBinary.find(text[i]) == kBinary.npos))
    return std::nullopt;
  if (i + 1 < text.size() && is_word(text[i + 1])) return std::nullopt;
  return i + 1;
}

/// Behind the string that begins with the quote at `i`.
std::size_t end_of_string(std::string_view text, std::size_t i) {
  for (++i; i < text.size() && text[i] != '"'; ++i)
    if (text[i] == '\\') ++i;
  return std::min(i + 1, text.size());
}

}  // namespace

std::optional<std::int64_t> python_int(std::string_view text) {
  const auto plain = without_underscores(unsigned_part(trim(text)));
  return plain ? whole_text<std::int64_t>(*plain) : std::nullopt;
}

std::optional<double> python_float(std::string_view text) {
  const auto plain = without_underscores(unsigned_part(trim(text)));
  if (!plain) return std::nullopt;
  if (const auto special = special_float(*plain)) return special;
  return whole_text<double>(*plain);
}

std::optional<std::int64_t> pydantic_int(std::string_view text) {
  text = trim(text);
  if (const auto dot = text.find('.');
      dot != text.npos && dot + 1 < text.size() && text.find_first_not_of('0', dot + 1) == text.npos)
    text = text.substr(0, dot);
  return python_int(text);
}

std::optional<std::int64_t> human_readable_int(std::string_view text) {
  text = trim(text);
  if (const auto plain = python_int(text)) return plain;
  if (text.size() < 2) return std::nullopt;
  const auto digits = text.substr(0, text.size() - 1);
  if (digits.find_first_not_of("0123456789.") != digits.npos) return std::nullopt;
  if (const auto power = kDecimal.find(text.back()); power != kDecimal.npos) return decimal_int(digits, power);
  const auto power = kBinary.find(text.back());
  return power == kBinary.npos ? std::nullopt : binary_int(digits, power);
}

std::string expand_json_numbers(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    const auto end = text[i] == '"' ? end_of_string(text, i) : suffixed_number(text, i).value_or(i + 1);
    const auto part = text.substr(i, end - i);
    const auto number = end > i + 1 && text[i] != '"' ? human_readable_int(part) : std::nullopt;
    out += number ? std::to_string(*number) : std::string(part);
    i = end;
  }
  return out;
}

}  // namespace shardwise
