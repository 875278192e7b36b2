#include <cstdio>

#include "cli/commands.h"
#include "cli/options.h"
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
  std::fputs((o.question.json ? check_json(answer) : check_text(answer, o.question.style())).c_str(), stdout);
  return answer.starts() && answer.plan->slos_kept ? kExitFound : kExitNo;
}

int run_memory(const CommandOptions& o, const std::vector<std::string>& flags) {
  const auto answer = memory_answer(check_request_of(o, flags));
  std::fputs((o.question.json ? memory_answer_json(answer) : memory_answer_text(answer, o.question.style())).c_str(),
             stdout);
  return answer.refusal || answer.memory.refusal ? kExitNo : kExitFound;
}

int run_estimate(const CommandOptions& o, const std::vector<std::string>& flags) {
  const auto answer = estimate(check_request_of(o, flags));
  std::fputs((o.question.json ? check_json(answer.check) : estimate_text(answer, o.question.style())).c_str(), stdout);
  return answer.check.starts() ? kExitFound : kExitNo;
}

}  // namespace

void add_check_command(CLI::App& app, const CommandLine& line, std::vector<std::function<int()>>& handlers) {
  auto* sub = app.add_subcommand(
      "check", "a vLLM command: is it accepted, what does it become, does it fit, what would be better");
  auto o = std::make_shared<CommandOptions>();
  o->add_to(*sub);
  sub->footer(
      "shardwise check MODEL --gpus 8xH100 -- --tensor-parallel-size 2 --data-parallel-size 4\n"
      "Exit code 0: it starts and keeps the SLOs; 1: it does not; 2: the question cannot be read.");
  handlers.push_back([o, &line] { return run_check(*o, line.vllm); });
}

void add_memory_command(CLI::App& app, const CommandLine& line, std::vector<std::function<int()>>& handlers) {
  auto* sub = app.add_subcommand(
      "memory", "what every rank of a vLLM command holds, KV blocks and tokens, the longest max_model_len");
  auto o = std::make_shared<CommandOptions>();
  o->add_to(*sub);
  sub->footer("shardwise memory MODEL --gpus 8xH100 -- --tensor-parallel-size 8");
  handlers.push_back([o, &line] { return run_memory(*o, line.vllm); });
}

void add_estimate_command(CLI::App& app, const CommandLine& line, std::vector<std::function<int()>>& handlers) {
  auto* sub = app.add_subcommand(
      "estimate", "one command's step times by operator, TTFT, TPOT, throughput, and what they depend on");
  auto o = std::make_shared<CommandOptions>();
  o->add_to(*sub);
  sub->footer("shardwise estimate MODEL --gpus 8xH100 --concurrency 64 -- --tensor-parallel-size 8");
  handlers.push_back([o, &line] { return run_estimate(*o, line.vllm); });
}

}  // namespace shardwise
