#pragma once
// Where a node answers. What launch files and commands are written with is one of these and nothing else.
#include <compare>
#include <optional>
#include <string>
#include <string_view>

namespace shardwise {

struct TextPlace;

/// A host name (RFC 1123, underscores allowed), an IPv4 or an IPv6 address: letters, digits and "._-:" alone.
class HostName {
 public:
  /// nullopt if `text` is none.
  static std::optional<HostName> parse(std::string_view text);
  const std::string& text() const { return text_; }
  bool is_ip() const { return is_ip_; }
  /// As the front of HOST:PORT: an IPv6 address in brackets.
  std::string before_port() const;
  auto operator<=>(const HostName&) const = default;

 private:
  explicit HostName(std::string_view text, bool is_ip) : text_(text), is_ip_(is_ip) {}
  std::string text_;
  bool is_ip_;
};

/// InputError if `text` is none.
HostName parse_host_name(std::string_view text, const TextPlace& place);

}  // namespace shardwise
