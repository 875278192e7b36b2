#pragma once
// A model by its bundled name or its path, for tests and benches: the hub is not asked.
#include "config/text_source.h"
#include "model/load.h"

namespace shardwise {

inline Model bundled_model(const std::string& name) {
  DiskSource disk;
  return load_model(name, disk);
}

}  // namespace shardwise
