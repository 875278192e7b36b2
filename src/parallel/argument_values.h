#pragma once
// How one word behind an argument becomes a value.
#include <optional>
#include <string>

#include "parallel/parser_table.h"

namespace shardwise {

/// The word as vLLM holds it: numbers as digits, JSON of a configuration coerced and compact. nullopt: no value (None).
/// Throws InputError if the parser refuses the word; `flag` names the argument there.
std::optional<std::string> read_argument_word(const ArgumentRow& row, const std::string& flag, const std::string& word,
                                              VllmVersion version);

}  // namespace shardwise
