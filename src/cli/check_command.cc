#include <algorithm>

#include "app/check.h"
#include "app/check_deployment.h"
#include "app/estimate.h"
#include "app/memory_answer.h"
#include "base/input_error.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "report/deployment.h"
#include "report/report.h"

namespace shardwise {
namespace {

int run_check(const CommandOptions& o, const std::vector<std::string>& flags) {
  const auto request = check_request_of(o, flags);
  CheckAnswer answer;
  {
    Progress progress("checking " + request.model->name);
    answer = check(request);
  }
  const Style style = o.question.style();
  print(o.question.json ? check_json(answer) : check_text(answer, style), style);
  return answer.starts() && answer.plan->slos_kept ? kExitFound : kExitNo;
}

struct DeploymentOptions {
  CommandOptions command;
  std::string from, node;
};

/// FLAGS --node 1 -- FLAGS ...: what stands behind `--node N --` of each node.
std::vector<StartCommand> commands_of(const DeploymentOptions& o, const std::vector<std::string>& words) {
  std::vector<StartCommand> out;
  const auto add = [&](const std::string& node) {
    StartCommand c;
    c.file = "node " + node;
    c.form = "command line";
    out.push_back(std::move(c));
  };
  add(o.node);
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--node" && i + 2 < words.size() && words[i + 2] == "--") {
      add(words[i + 1]);
      i += 2;
      continue;
    }
    out.back().words.push_back({words[i], 0});
  }
  for (auto& c : out)
    if (const auto& m = o.command.question.model; !m.empty() && (c.words.empty() || c.words[0].text.starts_with('-')))
      c.words.insert(c.words.begin(), {m, 0});
  for (auto& c : out)
    if (!c.words.empty() && c.words[0].text == "vllm") c.words.erase(c.words.begin(), c.words.begin() + 2);
  return out;
}

int run_deployment(const DeploymentOptions& o, const std::vector<std::string>& words) {
  const auto& q = o.command.question;
  DeploymentRequest request;
  const auto env = environment_of(o.command);
  if (o.from.empty()) {
    request.forms = {commands_of(o, words)};
    for (auto& c : request.forms[0]) c.env.insert(env.begin(), env.end());
  } else {
    if (!words.empty()) throw InputError("check", 0, "", "--from reads the commands; none stands behind --");
    Variables variables;
    for (const auto& [name, value] : env) variables[name] = {value};
    request.forms = read_start_commands(o.from, variables);
  }
  request.model_spec = q.model;
  if (!q.gpus.empty()) request.cluster = cluster_of(q);
  if (!q.vllm.empty()) request.vllm_version = parse_vllm_version(q.vllm);
  const auto answer = check_deployments(request);
  const Style style = q.style();
  print(q.json ? deployment_json(answer) : deployment_text(answer, style), style);
  return answer.works() ? kExitFound : kExitNo;
}

int run_memory(const CommandOptions& o, const std::vector<std::string>& flags) {
  const auto answer = memory_answer(check_request_of(o, flags));
  const Style style = o.question.style();
  print(o.question.json ? memory_answer_json(answer) : memory_answer_text(answer, style), style);
  return answer.refusal || answer.memory.refusal ? kExitNo : kExitFound;
}

int run_estimate(const CommandOptions& o, const std::vector<std::string>& flags) {
  const auto answer = estimate(check_request_of(o, flags));
  const Style style = o.question.style();
  print(o.question.json ? check_json(answer.check) : estimate_text(answer, style), style);
  return answer.check.starts() ? kExitFound : kExitNo;
}

}  // namespace

Handler add_check(Command command, const std::vector<std::string>& vllm) {
  auto o = std::make_shared<DeploymentOptions>();
  o->command.add_to(command, false);
  command.option("--from", o->from,
                 "a file or folder with the commands of all nodes (scripts, Slurm, Compose, Kubernetes): do they work "
                 "as one deployment");
  command.option("--node", o->node, "the same of commands: --node 0 -- FLAGS --node 1 -- FLAGS ...");
  command.footer(
      "shardwise check MODEL --gpus 8xH100 -- --tensor-parallel-size 2 --data-parallel-size 4\n"
      "shardwise check --from launch/\n"
      "Exit code 0: it starts and keeps the SLOs, or works as one deployment; 1: it does not; 2: the question cannot "
      "be "
      "read.");
  return [o, &vllm] {
    return o->from.empty() && o->node.empty() ? run_check(o->command, vllm) : run_deployment(*o, vllm);
  };
}

Handler add_memory(Command command, const std::vector<std::string>& vllm) {
  auto o = std::make_shared<CommandOptions>();
  o->add_to(command);
  command.footer("shardwise memory MODEL --gpus 8xH100 -- --tensor-parallel-size 8");
  return [o, &vllm] { return run_memory(*o, vllm); };
}

Handler add_estimate(Command command, const std::vector<std::string>& vllm) {
  auto o = std::make_shared<CommandOptions>();
  o->add_to(command);
  command.footer("shardwise estimate MODEL --gpus 8xH100 --concurrency 64 -- --tensor-parallel-size 8");
  return [o, &vllm] { return run_estimate(*o, vllm); };
}

}  // namespace shardwise
