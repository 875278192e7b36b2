#pragma once
// YAML text as a strict tree: every value knows its line and path; duplicate keys, anchors and tags are errors.
#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "config/quantity.h"

namespace shardwise {

struct YamlEntry;

/// One value of a YAML document. Accessors throw InputError (file:line: path: ...) when the value is not of that kind.
struct YamlValue {
  enum class Kind { null, scalar, list, map } kind = Kind::null;
  TextPlace place;
  std::string scalar;
  bool quoted = false;  ///< "80" is text, 80 is a number
  std::vector<YamlValue> list;
  std::vector<YamlEntry> map;  ///< in the order of the text

  const std::string& text() const;  ///< one printable line (base/printable.h)
  std::int64_t integer(std::int64_t least, std::int64_t most) const;
  double number(double least, double most) const;
  bool boolean() const;
  const std::vector<YamlValue>& items() const;
  /// nullptr if the key is absent.
  const YamlValue* find(std::string_view key) const;
  /// Throws if the key is absent.
  const YamlValue& at(std::string_view key) const;
  /// Throws on any key that is not in `keys`, with a spelling hint. Also throws if this is no map.
  void only_keys(std::initializer_list<std::string_view> keys) const;
  [[noreturn]] void fail(const std::string& message, const std::string& hint = "") const;
};

/// A key of a map and its value.
struct YamlEntry {
  std::string key;
  YamlValue value;
};

/// The one document of `text`. An empty document is a null value.
YamlValue parse_yaml(std::string_view text, const std::string& file);

/// `text` as a YAML scalar, quoted only where it would not read back as the same text.
std::string yaml_scalar(std::string_view text);
/// The same always in double quotes, on one line; a JSON string too. Bytes that are not UTF-8 become U+FFFD.
std::string yaml_quoted(std::string_view text);

}  // namespace shardwise
