#include "base/printable.h"

#include <optional>
#include <utility>

namespace shardwise {
namespace {

struct CodePoint {
  std::uint32_t value = 0;
  std::size_t bytes = 1;
};

/// The code point at the front of `text`, nullopt if its first byte begins none.
std::optional<CodePoint> first_code_point(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])); };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return CodePoint{lead, 1};
  const std::size_t bytes = lead >= 0xC2 && lead < 0xE0 ? 2 : lead >= 0xE0 && lead < 0xF0 ? 3 : 4;
  if (lead < 0xC2 || lead > 0xF4 || text.size() < bytes) return std::nullopt;
  CodePoint out{lead & (0xFFu >> (bytes + 1)), bytes};
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return std::nullopt;
    out.value = out.value << 6 | (byte(i) & 0x3F);
  }
  constexpr std::uint32_t kLeast[] = {0x80, 0x800, 0x10000};
  const bool surrogate = out.value >= 0xD800 && out.value < 0xE000;
  if (out.value < kLeast[bytes - 2] || out.value > 0x10FFFF || surrogate) return std::nullopt;
  return out;
}

/// Code points that move the cursor, end a line, turn the direction, or are no character (U+FFFE, U+FFFF).
constexpr std::pair<std::uint32_t, std::uint32_t> kHidden[] = {{0x00, 0x1F},     {0x7F, 0x9F},     {0x2028, 0x202E},
                                                               {0x2066, 0x2069}, {0xFEFF, 0xFEFF}, {0xFFFE, 0xFFFF}};

bool is_hidden(std::uint32_t value) {
  for (const auto& [first, last] : kHidden)
    if (value >= first && value <= last) return true;
  return false;
}

}  // namespace

std::string hex_text(std::uint32_t value, int digits) {
  std::string out;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) out += "0123456789abcdef"[value >> shift & 15];
  return out;
}

bool is_printable(std::string_view text) {
  while (!text.empty()) {
    const auto c = first_code_point(text);
    if (!c || is_hidden(c->value)) return false;
    text.remove_prefix(c->bytes);
  }
  return true;
}

std::string escaped(std::string_view text, std::string_view keep, std::string (*bad_byte)(unsigned char byte)) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const auto c = first_code_point(text);
    const std::size_t bytes = c ? c->bytes : 1;
    if (!c)
      out += bad_byte(static_cast<unsigned char>(text[0]));
    else if (is_hidden(c->value) && (bytes > 1 || keep.find(text[0]) == std::string_view::npos))
      out += "\\u" + hex_text(c->value, 4);
    else
      out += text.substr(0, bytes);
    text.remove_prefix(bytes);
  }
  return out;
}

std::string printable(std::string_view text, std::string_view keep) {
  return escaped(text, keep, [](unsigned char byte) { return "\\x" + hex_text(byte, 2); });
}

}  // namespace shardwise
