#pragma once
// Whether the commands of all nodes work as one deployment, by what vLLM's engines and front ends tell each other when
// they start (v1/engine/utils.py, entrypoints/cli/serve.py, engine/arg_utils.py).
#include <optional>
#include <string>
#include <vector>

#include "hardware/hardware.h"
#include "launch/start_commands.h"
#include "parallel/engine_args.h"
#include "parallel/model_facts.h"
#include "parallel/node_launch.h"

namespace shardwise {

/// One command of a deployment, read.
struct DeploymentNode {
  StartCommand command;
  VllmVersion version;
  std::optional<EngineArgs> args;  ///< nullopt: vLLM's parser refuses them
  NodeLaunch launch;
  int deployment = 0;
  std::string role;  ///< "serves HTTP, data-parallel ranks 0 to 7 of 16, internal load balancing"
};

struct DeploymentProblem {
  std::string file;
  int line = 0;
  std::string message, instead;
};

/// Commands of one form: a deployment, or several (replicas).
struct DeploymentCheck {
  std::string form;
  std::vector<DeploymentNode> nodes;
  std::vector<DeploymentProblem> problems;  ///< in the order of files and lines
  int deployments() const;
};

/// "run-node1.sh:12"; the file alone where there is no line.
std::string place_text(const std::string& file, int line);

/// What vLLM's rules for each command alone are asked with; without it only the commands together are looked at.
struct DeploymentModel {
  ModelFacts facts;
  Gpu gpu;
  int gpus_per_node = 8;
};

DeploymentCheck check_deployment(std::vector<StartCommand> commands, VllmVersion version,
                                 const DeploymentModel* model = nullptr);

}  // namespace shardwise
