#pragma once
// What one node's command makes of its place in a deployment, by vLLM's own derivation.
#include "parallel/resolve.h"

namespace shardwise {

struct NodeLaunch {
  bool headless = false, external_lb = false, hybrid_lb = false, multi_port = false;
  std::int64_t world_size = 1;          ///< GPUs of one data-parallel rank
  std::int64_t data_parallel_size = 1;  ///< ranks of the whole deployment
  std::int64_t first_rank = 0,
               ranks = 1;  ///< that this node's engines are; with nnodes, the rank that it has a part of
  std::int64_t nnodes = 1, node_rank = 0;
  bool ray = false;                                                ///< Ray starts what runs on other nodes
  bool over_nodes() const { return nnodes > data_parallel_size; }  ///< a rank spans nodes
  bool internal_lb() const { return !external_lb && !hybrid_lb; }
};

NodeLaunch node_launch(const EngineArgs& args, const Environment& environment, VllmVersion version);

}  // namespace shardwise
