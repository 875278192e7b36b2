#include <cstdio>
#include <cstdlib>

#include "base/input_error.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "report/report.h"

namespace shardwise {
namespace {

/// VLLM_* variables of this shell that change what vLLM does: the command under check would see them too.
Environment vllm_environment(const std::vector<std::string>& given) {
  Environment env;
  for (const auto& text : given) {
    const auto at = text.find('=');
    if (at == std::string::npos) throw InputError("--env", 0, "", "'" + text + "' has no value", "NAME=VALUE");
    env[text.substr(0, at)] = text.substr(at + 1);
  }
  return env;
}

int run_check(const QuestionOptions& o, const std::vector<std::string>& env, const std::vector<std::string>& flags) {
  CheckRequest request;
  request.args = parse_vllm_flags(flags);
  request.model_spec = o.model;
  request.model = model_of(o.model);
  request.cluster = load_cluster(o.gpus);
  request.env = vllm_environment(env);
  request.workload = workload_of(o, nullptr);
  request.goal = o.goal.empty() ? Goal::balanced : parse_goal(o.goal, "--goal");
  if (!o.vllm.empty()) request.vllm_version = parse_vllm_version(o.vllm);
  request.threads = o.threads;
  CheckAnswer answer;
  {
    Progress progress("checking " + request.model->name);
    answer = check(request);
  }
  std::fputs((o.json ? check_json(answer) : check_text(answer, o.style())).c_str(), stdout);
  return answer.starts() && answer.plan->slos_kept ? kExitFound : kExitNo;
}

}  // namespace

void add_check_command(CLI::App& app, const CommandLine& line, std::vector<std::function<int()>>& handlers) {
  auto* sub = app.add_subcommand("check", "a vLLM command: is it accepted, what does it become, does it fit, what would be better");
  auto o = std::make_shared<QuestionOptions>();
  auto env = std::make_shared<std::vector<std::string>>();
  o->add_to(*sub);
  sub->add_option("--env", *env, "environment variable of the command: VLLM_PP_LAYER_PARTITION=20,20");
  sub->footer("shardwise check MODEL --gpus 8xH100 -- --tensor-parallel-size 2 --data-parallel-size 4\n"
              "Exit code 0: it starts and keeps the SLOs; 1: it does not; 2: the question cannot be read.");
  handlers.push_back([o, env, &line] { return run_check(*o, *env, line.vllm); });
}

}  // namespace shardwise
