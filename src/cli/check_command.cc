#include <cstdio>

#include "app/check.h"
#include "app/estimate.h"
#include "app/memory_answer.h"
#include "cli/command.h"
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

Handler add_check(Command command, const std::vector<std::string>& vllm) {
  auto o = std::make_shared<CommandOptions>();
  o->add_to(command);
  command.footer(
      "shardwise check MODEL --gpus 8xH100 -- --tensor-parallel-size 2 --data-parallel-size 4\n"
      "Exit code 0: it starts and keeps the SLOs; 1: it does not; 2: the question cannot be read.");
  return [o, &vllm] { return run_check(*o, vllm); };
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
