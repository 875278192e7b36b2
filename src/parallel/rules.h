#pragma once
// vLLM's rules, one row each: what resolve() checks and `shardwise rules` prints.
#include <span>
#include <string>
#include <string_view>

#include "base/version.h"

namespace shardwise {

/// A named check of vLLM's. `since` and `until` (exclusive) bound the versions that make it.
struct Rule {
  std::string_view id;       ///< slug, the same word in every version
  std::string_view stage;    ///< config | launch | worker | model | memory
  std::string_view where;    ///< vLLM file:function that refuses (0.32)
  std::string_view text;     ///< the rule in plain words
  std::string_view instead;  ///< what to write instead
  VllmVersion since{0, 0, 0}, until{99, 0, 0};
  std::string_view says = {};  ///< first words of vLLM's message, of rules whose recordings have no slug but these
};

/// All rules, in the order in which vLLM checks them. An id can stand in several rows (several places, or versions).
std::span<const Rule> rules();

/// First row with this id, null if there is none.
const Rule* find_rule(std::string_view id);

}  // namespace shardwise
