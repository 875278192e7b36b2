#pragma once
// What the writers of launch files share. Not for other layers.
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "launch/launch.h"

namespace shardwise {

/// What manifest.json calls itself.
inline constexpr const char* kLaunchFormat = "shardwise launch 1";

/// A plan that has been placed, with its commands.
struct PlacedLaunch {
  const LaunchRequest& request;
  Placement placement;
  std::vector<LaunchCommand> commands;

  std::vector<int> nodes() const;  ///< nodes that are used, ascending
  /// What people call it.
  int number(int node) const { return node_number(request, node); }
  std::vector<const LaunchCommand*> on_node(int node) const;
  const NodeShare& share(const LaunchCommand& command) const;
  const Node& node(int index) const { return request.cluster.nodes[static_cast<std::size_t>(index)]; }
  bool amd() const { return request.cluster.gpu(node(commands.front().node)).vendor == "amd"; }
  bool over_nodes() const;  ///< some deployment spans nodes
};

/// Number of the node whose address stands at argv[i], if argv[i] is the value of an address flag.
std::optional<int> address_at(const PlacedLaunch& launch, const LaunchCommand& command, std::size_t i);
/// "org/Model-1.0" -> "model-1-0": a name that Kubernetes and Compose accept.
std::string plain_label(const std::string& model);
std::string container_image(const PlacedLaunch& launch);

std::string run_script(const PlacedLaunch& launch, int node);
std::string preflight_script(const PlacedLaunch& launch);
std::string slurm_script(const PlacedLaunch& launch);
std::string router_conf(const PlacedLaunch& launch);
std::string compose_file(const PlacedLaunch& launch, int node);
bool shares_alike(const PlacedLaunch& launch);
std::string leader_worker_set(const PlacedLaunch& launch);
std::string offline_script(const PlacedLaunch& launch);
std::string ray_notes(const PlacedLaunch& launch);
std::string manifest(const PlacedLaunch& launch);
std::string readme(const PlacedLaunch& launch);

/// A kind of launch file.
struct LaunchTarget {
  std::string_view file;   ///< its name; node<N> stands for the number of the node that it is for
  std::string_view about;  ///< what it is for, in README.md; empty: not listed there
  bool (*applies)(const PlacedLaunch&);
  std::variant<std::string (*)(const PlacedLaunch&), std::string (*)(const PlacedLaunch&, int)>
      write;  ///< one file, or one for every node that is used
};
/// In the order of README.md.
std::span<const LaunchTarget> launch_targets();

}  // namespace shardwise
