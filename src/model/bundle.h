#pragma once
// The models that come with the binary: data/models/*.json, found through data/models/index.txt.
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/model.h"

namespace shardwise {

/// One name of a bundled model.
struct BundledName {
  std::string stem;            ///< file under data/models
  std::string id;              ///< the repository that the name means: the file's own, or another with the same shape
  bool recorded_only = false;  ///< measurements call the model so; as an answer to a question it would be a guess
};

/// What `spec` names: a hub id, its last part, "org--name", a short name or a file's stem; case does not matter.
std::optional<BundledName> find_bundled(std::string_view spec);
/// The same of a name in recordings and measurements, whose own names come first.
std::optional<BundledName> find_recorded(std::string_view spec);

/// The model as `name.id` has it: with the fields in which that repository's config.json differs from the file's, and
/// with a remark where the file is another's.
Model load_bundled(const BundledName& name);
/// The file's own config, under its own id: what measurements and recordings of any of its names were made with.
Model load_bundled_file(const std::string& stem);

/// Hub ids whose last part contains the words of `spec` in a row, nearest first; a few at most.
std::vector<std::string> bundled_names_like(std::string_view spec);

}  // namespace shardwise
