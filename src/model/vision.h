#pragma once
// The vision part of a multimodal config.json. Internal to the model layer.
#include <optional>

#include "model/fields.h"
#include "model/model.h"

namespace shardwise {

/// The tower that `vision_config` describes; nullopt if there is none.
std::optional<VisionTower> read_vision(const Fields& top);

}  // namespace shardwise
