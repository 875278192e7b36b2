#pragma once
// A chosen plan as the commands and files that launch exactly it.
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "hardware/hardware.h"
#include "parallel/engine_args.h"
#include "parallel/engine_config.h"
#include "parallel/placement.h"

namespace shardwise {

/// What to launch. `engine` is the resolved engine whose memory and speed were predicted.
struct LaunchRequest {
  std::string model;  ///< what `vllm serve` is given: hub id or path
  bool is_moe = false;
  EngineConfig engine;
  int replicas = 1;  ///< separate deployments behind a router
  Cluster cluster;
  int port = 8000;                     ///< HTTP port of the first server on a node; further ones count up
  int data_parallel_rpc_port = 13345;  ///< of the first deployment; further ones count up
  int master_port = 29501;             ///< the same, for ranks that span nodes
  EngineArgs given;  ///< the user's arguments: those of the model (dtype, quantization, hf_overrides, load_format,
                     ///< speculative_config) are handed on, all others come from `engine`
  std::vector<std::string> extra_args;  ///< appended to every command as they are
  std::vector<int>
      node_numbers;  ///< what people call the nodes, where `cluster` is part of a larger one; empty = 0, 1 ...
};

/// One process group to start: a `vllm serve` on one node.
struct LaunchCommand {
  int node = 0;  ///< index in cluster.nodes
  int replica = 0;
  std::vector<std::string> argv;           ///< vllm serve MODEL ...
  std::map<std::string, std::string> env;  ///< on top of the node's environment
  std::string note;                        ///< what this command does, for people
  bool serves_http = true;                 ///< false: --headless
  int port = 8000;                         ///< where it serves, if it does
};

/// What people call node `node` of request.cluster.
int node_number(const LaunchRequest& request, int node);
/// Its address, or "node<number>" where the cluster gives none.
std::string node_address(const LaunchRequest& request, int node);

/// The flags that hold for every node of the plan: layout and every engine setting that the prediction rests on.
EngineArgs plan_args(const LaunchRequest& request);

/// Commands by replica, then node; PlacementProblem if the cluster has no room.
std::variant<std::vector<LaunchCommand>, PlacementProblem> launch_commands(const LaunchRequest& request);

/// `command` for a POSIX shell: VAR=value ... vllm serve ..., quoted where needed; one line, or with `wrap` one flag a
/// line.
std::string shell_line(const LaunchCommand& command, bool wrap = false);
/// One word for a POSIX shell.
std::string shell_word(const std::string& word);

}  // namespace shardwise
