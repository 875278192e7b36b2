#pragma once
// A chosen plan as the commands and files that launch exactly it.
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "hardware/hardware.h"
#include "parallel/engine_args.h"
#include "parallel/engine_config.h"
#include "parallel/placement.h"

namespace shardwise {

/// Ports of the first server, of ranks that span nodes and of data parallel start-up, where the user gives none.
inline constexpr int kPort = 8000, kMasterPort = 29501, kDataParallelRpcPort = 13345;

/// A model that is a folder of the machine that plans.
struct ModelFolder {
  std::string path;  ///< absolute
  std::string from;  ///< folder that a relative name of the model is meant from; absolute
};

/// What to launch. `engine` is the resolved engine whose memory and speed were predicted.
struct LaunchRequest {
  std::string model;  ///< what `vllm serve` is given: hub id or path
  std::optional<ModelFolder> model_folder;
  bool is_moe = false;
  EngineConfig engine;
  int replicas = 1;  ///< separate deployments behind a router
  Cluster cluster;
  EngineArgs given;  ///< the user's arguments: they stay, except where the plan decides
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
  int port = kPort;                        ///< where it serves, if it does
};

/// What people call node `node` of request.cluster.
int node_number(const LaunchRequest& request, int node);
/// Its address, or "node<number>" where the cluster gives none.
HostName node_address(const LaunchRequest& request, int node);

/// The user's arguments with the plan laid over them: its layout, and every engine setting that its prediction rests
/// on. Holds for every command that serves; those that do not are without FlagPart::server.
EngineArgs plan_args(const LaunchRequest& request);

/// The user's arguments that no command carries as they were given: the plan, or the launch of a node, decides them.
std::vector<GivenFlag> laid_over(const EngineArgs& given, const std::vector<LaunchCommand>& commands,
                                 VllmVersion version = kDefaultVllmVersion);

/// Commands by replica, then node; PlacementProblem if the cluster has no room. InputError if an address that the user
/// gives is none.
std::variant<std::vector<LaunchCommand>, PlacementProblem> launch_commands(const LaunchRequest& request);

/// `command` for a POSIX shell: VAR=value ... vllm serve ..., quoted where needed; one line, or with `wrap` one flag a
/// line.
std::string shell_line(const LaunchCommand& command, bool wrap = false);
/// One word for a POSIX shell.
std::string shell_word(const std::string& word);

}  // namespace shardwise
