#pragma once
// Checks that fire while vLLM builds the model class.
#include <span>

#include "parallel/model_facts.h"
#include "parallel/rules.h"

namespace shardwise {

/// Fills facts.construction from facts.text_config and quantisation. Part of model_facts().
void derive_construction(ModelFacts& facts);

/// Rules of stage "model".
std::span<const Rule> construction_rules();

}  // namespace shardwise
