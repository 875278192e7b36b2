#include "parallel/node_launch.h"

#include "parallel/rule_rows.h"

namespace shardwise {

NodeLaunch node_launch(const EngineArgs& args, const Environment& environment, VllmVersion version) {
  const ModelFacts model;
  const NodeFacts node;
  ResolveState s(args, model, node, environment, EntryMode::serve, version);
  for (const auto phase : {Phase::arguments, Phase::serve, Phase::options}) derive_config(phase, s);
  NodeLaunch out;
  out.headless = args.headless.value_or(false);
  out.external_lb = s.external_lb && s.dp_size > 1;
  out.hybrid_lb = s.hybrid_lb && s.dp_size > 1;
  out.multi_port = s.is_multi_port;
  out.world_size = s.world();
  out.data_parallel_size = s.dp_size;
  out.first_rank = s.dp_rank.value_or(0);
  out.ranks = s.is_multi_port ? args.data_parallel_size_local.value_or(1) : s.r.data_parallel_size_local;
  out.nnodes = s.nnodes;
  out.node_rank = s.node_rank;
  out.ray = args.distributed_executor_backend == "ray" || args.data_parallel_backend == "ray";
  return out;
}

}  // namespace shardwise
