#pragma once
// The models that come with the binary: data/models/*.json, found through data/models/index.txt.
#include <optional>
#include <string>
#include <string_view>

#include "model/model.h"

namespace shardwise {

/// File stem under data/models of the bundled model that `spec` names: hub id, its last part, "org--name", or an alias;
/// case does not matter. nullopt if the bundle lacks it.
std::optional<std::string> find_bundled(std::string_view spec);

/// Reads data/models/STEM.json. The model's name is its hub id.
Model load_bundled(const std::string& stem);

}  // namespace shardwise
