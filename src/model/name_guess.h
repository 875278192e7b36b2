#pragma once
// A model known by its name alone: fine-tunes and requantised copies are called after the model they are made from
// ("RedHatAI/Qwen3-8B-quantized.w4a16", "unsloth/Llama-3.3-70B-Instruct-bnb-4bit").
#include <optional>
#include <string>
#include <string_view>

#include "model/model.h"

namespace shardwise {

struct NameGuess {
  Model model;             ///< its name is the bundled model's
  std::string assumption;  ///< in words: what was taken for what
};

/// The bundled model whose family, version and size `spec` names, with weights in the format that `spec` names; the
/// longest match wins. nullopt where the bundle has no such model. Only for questions where
/// an approximate answer that says so is better than none: which layers stay unquantised is assumed.
std::optional<NameGuess> guess_model(std::string_view spec);

}  // namespace shardwise
