#include <cassert>
#include <filesystem>

#include "app/plan.h"
#include "base/input_error.h"
#include "launch/launch.h"
#include "launch/launch_files.h"

namespace shardwise {
namespace {

/// The folder that vLLM reads a model from, if its name is one.
std::optional<ModelFolder> folder_of(const std::string& model) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::is_directory(model, error)) return std::nullopt;
  const auto from = fs::current_path(error);
  return ModelFolder{(from / model).lexically_normal().string(), from.string()};
}

/// The group of nodes that the plan uses, with the GPUs already taken left out.
LaunchRequest launch_request(const PlanRequest& request, const Plan& plan, std::vector<int>* node_index) {
  auto groups = node_groups(request.cluster, request.gpus_taken);
  std::erase_if(groups, [](const NodeGroup& g) { return g.total() == 0; });
  auto& group = groups.at(static_cast<std::size_t>(plan.layout.group));
  for (std::size_t i = 0; i < group.cluster.nodes.size(); ++i) group.cluster.nodes[i].available = group.free_gpus[i];
  if (node_index) *node_index = group.node_index;
  LaunchRequest launch;
  launch.model = request.model->name;
  launch.model_folder = folder_of(launch.model);
  launch.is_moe = request.model->is_moe();
  launch.engine = plan.engine;
  launch.engine.parallel = plan.layout.parallel;
  launch.given = request.pinned;
  launch.replicas = plan.layout.replicas;
  launch.cluster = group.cluster;
  launch.node_numbers = group.node_index;
  return launch;
}

}  // namespace

std::vector<LaunchCommand> launch_plan(const PlanRequest& request, const Plan& plan) {
  std::vector<int> node_index;
  auto result = launch_commands(launch_request(request, plan, &node_index));
  if (const auto* problem = std::get_if<PlacementProblem>(&result)) throw InputError("--gpus", 0, "", problem->message);
  auto commands = std::get<std::vector<LaunchCommand>>(std::move(result));
  for (auto& c : commands) c.node = node_index[static_cast<std::size_t>(c.node)];
  return commands;
}

std::map<std::string, std::string> launch_files_of(const PlanRequest& request, const Plan& plan) {
  return launch_files(launch_request(request, plan, nullptr));
}

}  // namespace shardwise
