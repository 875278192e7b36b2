#pragma once
// The files of a launch directory.
#include <map>
#include <string>

#include "launch/launch.h"

namespace shardwise {

/// File name -> text; empty if the plan cannot be placed (launch_commands says why). Always: run-node<N>.sh for every
/// node that is used, compose.node<N>.yaml, plan.sbatch, preflight.sh, manifest.json, README.md. Where it applies:
/// leader_worker_set.yaml (all shares alike), offline_data_parallel.py (data parallel, ranks inside a node), ray.md
/// (ranks over several nodes), router.conf (several replicas). Names that end in .sh are meant to be executable.
std::map<std::string, std::string> launch_files(const LaunchRequest& request);

}  // namespace shardwise
