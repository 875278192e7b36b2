#pragma once
// `check --from`: the commands of all nodes -> do they work as one deployment.
#include "launch/deployment.h"

namespace shardwise {

struct DeploymentRequest {
  std::vector<std::vector<StartCommand>> forms;  ///< the commands of each form (scripts, Compose, Kubernetes)
  std::string model_spec;                        ///< "": that of the commands
  std::optional<Cluster> cluster;                ///< given: each command is asked vLLM's rules, too
  VllmVersion vllm_version = kDefaultVllmVersion;
};

struct DeploymentAnswer {
  std::vector<DeploymentCheck> checks;  ///< one a form
  std::vector<std::string> notes;
  bool works() const;
};

DeploymentAnswer check_deployments(const DeploymentRequest& request);

}  // namespace shardwise
