#include "app/check_deployment.h"

#include <algorithm>

#include "base/input_error.h"
#include "config/text_source.h"
#include "model/load.h"

namespace shardwise {
namespace {

std::string served_model(const DeploymentCheck& check) {
  for (const auto& node : check.nodes)
    if (node.args && node.args->model) return *node.args->model;
  return "";
}

}  // namespace

bool DeploymentAnswer::works() const {
  return std::ranges::all_of(checks, [](const auto& c) { return c.problems.empty(); });
}

DeploymentAnswer check_deployments(const DeploymentRequest& request) {
  DeploymentAnswer answer;
  for (const auto& commands : request.forms) {
    auto check = check_deployment(commands, request.vllm_version);
    const auto model = request.model_spec.empty() ? served_model(check) : request.model_spec;
    if (request.cluster && !model.empty()) try {
        DiskSource disk;
        const auto& cluster = *request.cluster;
        const DeploymentModel known{model_facts(load_model(model, disk)), cluster.first_gpu(), cluster.nodes[0].gpus};
        check = check_deployment(commands, request.vllm_version, &known);
      } catch (const InputError& e) {
        answer.notes.push_back("vLLM's rules for " + model + " were not asked: " + e.message);
      }
    answer.checks.push_back(std::move(check));
  }
  if (!request.cluster)
    answer.notes.push_back("--gpus not given: what each command needs of its own node was not asked");
  return answer;
}

}  // namespace shardwise
