#include "hardware/host_name.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cctype>

#include "base/input_error.h"
#include "base/printable.h"
#include "base/text.h"
#include "config/quantity.h"

namespace shardwise {
namespace {

bool is_address(const std::string& text, int family) {
  unsigned char ignored[sizeof(in6_addr)];
  return inet_pton(family, text.c_str(), ignored) == 1;
}

bool is_label(const std::string& label) {
  return !label.empty() && label.size() <= 63 && label.front() != '-' && label.back() != '-' &&
         std::all_of(label.begin(), label.end(),
                     [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_'; });
}

/// A name whose last label is a number would be read as an IPv4 address.
bool is_name(std::string text) {
  if (text.size() > 1 && text.back() == '.') text.pop_back();
  const auto labels = split(text, '.');
  return text.size() <= 253 && std::all_of(labels.begin(), labels.end(), is_label) &&
         labels.back().find_first_not_of("0123456789") != std::string::npos;
}

}  // namespace

std::optional<HostName> HostName::parse(std::string_view given) {
  const std::string text(given);
  if (text.find('\0') != std::string::npos) return std::nullopt;
  const bool ip = is_address(text, AF_INET) || is_address(text, AF_INET6);
  return ip || is_name(text) ? std::optional(HostName(text, ip)) : std::nullopt;
}

std::string HostName::before_port() const { return text_.find(':') == std::string::npos ? text_ : "[" + text_ + "]"; }

HostName parse_host_name(std::string_view text, const TextPlace& place) {
  if (const auto host = HostName::parse(text)) return *host;
  throw InputError(place.file, place.line, place.path,
                   "'" + printable(text.substr(0, 60)) + "' is no host name and no IP address",
                   "letters, digits, '-' and '.', as in node-1.lab or 10.0.0.1");
}

}  // namespace shardwise
