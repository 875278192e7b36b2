#pragma once
#include <memory>

#include "parallel/resolve.h"
#include "verify/verify.h"

namespace shardwise {

VerifyTopic legality_topic();

/// Facts of a model that a case names: models_dir/NAME/config.json, else the bundle. Each is compiled once per version.
std::shared_ptr<const ModelFacts> verify_model_facts(VerifyModels& models, const std::string& name, VllmVersion version,
                                                     const std::string& hf_overrides = "");

/// The node of a recorded case: {"gpu", "gpus", "ray_installed"}.
NodeFacts recorded_node(const Json& node);

/// Resolved values under vLLM's names, as recorded cases have them.
Json resolved_json(const Resolved& resolved);

}  // namespace shardwise
