#pragma once
// Small text functions that every reader and writer needs.
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace shardwise {

std::vector<std::string> split(std::string_view text, char separator);
std::string join(std::span<const std::string> parts, std::string_view separator);
std::string to_lower(std::string_view text);
std::string_view trim(std::string_view text);

/// "did you mean 'H100'?" for the candidate nearest to `word` by edit distance (case ignored), or "" if none is near
/// (more than a third of the word would have to change).
std::string did_you_mean(std::string_view word, std::span<const std::string> candidates);

/// 1234567 -> "1,234,567".
std::string with_commas(std::int64_t n);

/// Shortest decimal text that reads back as the same double ("0.1", "1e+30"); integers without ".0".
std::string number_text(double value);

/// FNV-1a hash; `hash`: of the text before it.
std::uint64_t fnv1a(std::string_view text, std::uint64_t hash = 14695981039346656037u);

}  // namespace shardwise
