#pragma once
// SHA-256 (FIPS 180-4), for digests of recorded text.
#include <string>
#include <string_view>

namespace shardwise {

/// The digest as 64 lower-case hex digits.
std::string sha256_hex(std::string_view text);

}  // namespace shardwise
