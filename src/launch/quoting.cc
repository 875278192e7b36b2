#include "launch/quoting.h"

#include <algorithm>

#include "base/printable.h"
#include "config/yaml.h"

namespace shardwise {
namespace {

/// `text` with `mark` before every character of `special`.
std::string marked(const std::string& text, char mark, std::string_view special) {
  std::string out;
  for (const char c : text) {
    if (special.find(c) != std::string_view::npos) out += mark;
    out += c;
  }
  return out;
}

}  // namespace

std::string shell_word(const std::string& word) {
  static constexpr std::string_view kPlain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=+./:,@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string shell_default(const std::string& variable, const std::string& word) {
  return "\"${" + variable + ":-" + marked(word, '\\', "\\\"$`}") + "}\"";
}

std::string compose_text(const std::string& text) { return yaml_quoted(marked(text, '$', "$")); }

std::string pod_text(const std::string& text) { return marked(text, '$', "$"); }

std::string python_string(const std::string& text) {
  const auto bad_byte = [](unsigned char byte) { return "\\u" + hex_text(0xDC00u + byte, 4); };
  return "\"" + escaped(marked(text, '\\', "\\\""), "", bad_byte) + "\"";
}

std::string markdown_text(const std::string& text) { return marked(printable(text), '\\', "\\`*[]<|&"); }

std::string markdown_code(const std::string& text) {
  std::string fence = "```";
  while (text.find(fence) != std::string::npos) fence += '`';
  return fence + "\n" + text + "\n" + fence + "\n";
}

}  // namespace shardwise
