#pragma once
// What the constructors of a model's classes check, read from its config.json: the facts of the rules of stage "model"
// (rule_rows_construction.cc).
#include "parallel/model_facts.h"

namespace shardwise {

/// Fills facts.construction from the other facts. Part of model_facts().
void derive_construction(ModelFacts& facts, VllmVersion version);

}  // namespace shardwise
