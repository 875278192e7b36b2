#pragma once
// What vLLM's model classes call the layers that hold KV cache.
#include <string>

#include "model/model.h"

namespace shardwise {

/// Patterns with {} for the layer number.
struct LayerNames {
  std::string prefix;  ///< "model.layers.{}."
  std::string attention, state, indexer, draft;
  bool draft_from_zero = false;  ///< draft layers count from 0, not on from the target's
};

LayerNames layer_names(const Model& model);

}  // namespace shardwise
