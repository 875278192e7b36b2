#pragma once
// The vLLM versions whose rules were compared with recorded runs. Any other version is answered by the rules known for
// it (each carries its version range), and the answer names the nearest version that was compared.
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/version.h"

namespace shardwise {

/// A version that was compared with recordings, and in what.
struct CheckedRow {
  VllmVersion version;
  bool rules = true;     ///< verdicts and resolved values
  bool kv_plans = true;  ///< KV cache groups, blocks and concurrency
  std::string_view changed =
      {};  ///< what it changed beside rules and arguments, whose rows tell; "" = not written down
};
/// Oldest first.
std::span<const CheckedRow> checked_versions();

struct CheckedVersion {
  VllmVersion nearest;  ///< whose rules were compared; the newer of two that are equally near
  bool exact = false;   ///< `nearest` is the version itself
};
/// The nearest version whose rules were compared with recordings. A release is nearer than any other minor release if
/// its minor number is; patch numbers decide between equals.
CheckedVersion checked_version(VllmVersion version);

/// For answers of a version that was not compared: which rules answer and, if it is newer than all of them, what the
/// newest one changed, since that may go on changing. nullopt for a version that was compared.
std::optional<std::string> unchecked_version_note(VllmVersion version);

}  // namespace shardwise
