#pragma once
// vLLM release numbers as values that compare.
#include <compare>
#include <string>
#include <string_view>

namespace shardwise {

/// A vLLM release. Pre-release and nightly suffixes are ignored by parse().
struct VllmVersion {
  int major_ = 0, minor_ = 0, patch_ = 0;
  constexpr auto operator<=>(const VllmVersion&) const = default;
};

/// The version of a question that names none.
extern const VllmVersion kDefaultVllmVersion;

/// Ends of ranges of versions: since the first release, not gone yet.
inline constexpr VllmVersion always{0, 0, 0}, ever{99, 0, 0};

/// "0.32" or "0.32.0" or "v0.20.1rc0". Throws InputError on anything else.
VllmVersion parse_vllm_version(std::string_view text);
std::string to_string(VllmVersion version);

}  // namespace shardwise
