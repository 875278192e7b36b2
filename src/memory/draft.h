#pragma once
// The layers of a model's own MTP draft.
#include <vector>

#include "model/model.h"

namespace shardwise {

/// One entry a layer, over all MTP layers; empty if the model has none. They attend as the target's last attention
/// layer does, with an indexer of their own; Nemotron-H and DeepSeek-V4 state their kinds.
std::vector<Layer> draft_layers(const Model& model);

}  // namespace shardwise
