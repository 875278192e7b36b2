#pragma once
// Checks that fire while vLLM builds the model class: sizes that TP or quantisation blocks do not divide, stages
// without a MoE layer, attention without prefill context parallelism.
#include <optional>
#include <span>
#include <string>

#include "parallel/engine_config.h"
#include "parallel/model_facts.h"
#include "parallel/resolve.h"
#include "parallel/rules.h"

namespace shardwise {

/// Fills facts.construction from the other facts. Part of model_facts().
void derive_construction(ModelFacts& facts);

/// Rules of stage "model".
std::span<const Rule> construction_rules();

/// First of them that the layout violates, on the given pipeline stage or, without one, on any stage.
/// `quantization` is the method in force (Resolved::quantization), "" = none. No allocation unless it refuses.
std::optional<Refusal> check_construction(const ModelFacts& model, const ParallelConfig& parallel,
                                          std::string_view quantization, std::optional<int> stage = std::nullopt);

}  // namespace shardwise
