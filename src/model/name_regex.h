#pragma once
// Regular expressions of ignore lists, as Python's re.match reads them: small, linear in pattern times name, and free
// of <regex>, which costs seconds a file and milliseconds a pattern.
#include <bitset>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

namespace shardwise {

/// Literals, . classes and \d \w \s, groups, alternation, * + ? {m,n} (greedy or not: the answer is the same), ^ $ \b
/// \B and lookahead. Back references and lookbehind are not read.
class NameRegex {
 public:
  /// nullopt if the text is not such an expression, or is longer than 300 characters.
  static std::optional<NameRegex> compile(std::string_view text);
  /// Whether some start of `name` matches; never for names longer than 300 characters.
  bool matches_start(std::string_view name) const;

  struct Step {
    enum class Op : std::uint8_t { set, split, jump, begin, end, word, not_word, ahead, not_ahead, match } op;
    int a = 0, b = 0;  ///< set: its index. split: both ways, jump: the way, relative. ahead: length of what it holds
  };

 private:
  std::vector<Step> steps_;
  std::vector<std::bitset<256>> sets_;
};

}  // namespace shardwise
