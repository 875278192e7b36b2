#pragma once
// One plan's shape. What it can vary in is the table of dimensions (parallel/dimensions.h).
#include <string>

#include "parallel/engine_config.h"

namespace shardwise {

/// `parallel` describes one deployment; `replicas` of them stand behind a router.
struct Layout {
  int group = 0;  ///< of nodes of one GPU kind; a deployment never mixes kinds
  ParallelConfig parallel;
  int replicas = 1;
  int gpus() const { return parallel.gpus() * replicas; }
  friend bool operator==(const Layout&, const Layout&) = default;
};

/// Sum over the dimensions that are not at their default: the simplest way breaks ties.
int complexity(const Layout& layout);

/// "TP2 x DP4", "TP8 x PP2 x 2 replicas": canonical, used as the last tie-break and as the plan's id.
std::string to_string(const Layout& layout);

}  // namespace shardwise
