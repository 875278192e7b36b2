#pragma once
// A bundled model by its name, for tests: no other source is asked.
#include "config/text_source.h"
#include "model/load.h"

namespace shardwise {

inline Model bundled_model(const std::string& name) {
  DiskSource disk;
  return load_model(name, disk);
}

}  // namespace shardwise
