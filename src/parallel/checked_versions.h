#pragma once
// The vLLM versions whose rules were compared with recorded runs. Any other version is answered by the rules known for
// it (each carries its version range), and the answer names the nearest version that was compared.
#include <optional>
#include <span>
#include <string>

#include "base/version.h"

namespace shardwise {

/// A version that was compared with recordings, and in what.
struct CheckedRow {
  VllmVersion version;
  bool rules = true;     ///< verdicts and resolved values
  bool kv_plans = true;  ///< KV cache groups, blocks and concurrency
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

/// One sentence for answers of a version that was not compared, nullopt for one that was.
std::optional<std::string> unchecked_version_note(VllmVersion version);

}  // namespace shardwise
