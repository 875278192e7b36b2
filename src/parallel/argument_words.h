#pragma once
// What vLLM's FlexibleArgumentParser makes of a command line before argparse reads it.
#include <span>
#include <string>
#include <vector>

#include "base/version.h"

namespace shardwise {

/// Dashes in names, -O3 as --optimization-level 3, --x.a 1 --x.b+ c,d as one --x '{"a": 1, "b": ["c", "d"]}' at the
/// end. Throws InputError if a key has no value behind it.
std::vector<std::string> flexible_words(std::span<const std::string> argv, VllmVersion version);

}  // namespace shardwise
