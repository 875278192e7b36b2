#include <cstdio>
#include <cstdlib>
#include <fstream>

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

CheckRequest request_of(const QuestionOptions& o, const std::vector<std::string>& env,
                        const std::vector<std::string>& flags) {
  CheckRequest request;
  request.args = parse_vllm_flags(flags);
  request.model_spec = o.model;
  request.model = model_of(o.model);
  request.cluster = load_cluster(o.gpus);
  request.calibration = calibration_of(o, *request.model, request.cluster);
  request.env = vllm_environment(env);
  request.workload = workload_of(o, nullptr);
  request.goal = o.goal.empty() ? Goal::balanced : parse_goal(o.goal, "--goal");
  if (!o.vllm.empty()) request.vllm_version = parse_vllm_version(o.vllm);
  request.threads = o.threads;
  return request;
}

struct CommandOptions {
  QuestionOptions question;
  std::vector<std::string> env;
};

std::shared_ptr<CommandOptions> command_options(CLI::App& sub) {
  auto o = std::make_shared<CommandOptions>();
  o->question.add_to(sub);
  sub.add_option("--env", o->env, "environment variable of the command: VLLM_PP_LAYER_PARTITION=20,20");
  return o;
}

int run_check(const CommandOptions& o, const std::vector<std::string>& flags) {
  const auto request = request_of(o.question, o.env, flags);
  CheckAnswer answer;
  {
    Progress progress("checking " + request.model->name);
    answer = check(request);
  }
  std::fputs((o.question.json ? check_json(answer) : check_text(answer, o.question.style())).c_str(), stdout);
  return answer.starts() && answer.plan->slos_kept ? kExitFound : kExitNo;
}

int run_memory(const CommandOptions& o, const std::vector<std::string>& flags) {
  const auto answer = memory_answer(request_of(o.question, o.env, flags));
  std::fputs((o.question.json ? memory_answer_json(answer) : memory_answer_text(answer, o.question.style())).c_str(),
             stdout);
  return answer.refusal || answer.memory.refusal ? kExitNo : kExitFound;
}

int run_estimate(const CommandOptions& o, const std::vector<std::string>& flags) {
  const auto answer = estimate(request_of(o.question, o.env, flags));
  std::fputs((o.question.json ? check_json(answer.check) : estimate_text(answer, o.question.style())).c_str(), stdout);
  return answer.check.starts() ? kExitFound : kExitNo;
}

struct SimulateOptions {
  std::int64_t requests = 0;
  std::uint64_t seed = 0;
  int replicas = 1;
  std::string trace_out;
};

int run_simulate(const CommandOptions& o, const SimulateOptions& s, const std::vector<std::string>& flags) {
  const auto request = request_of(o.question, o.env, flags);
  Progress progress("simulating " + request.model->name);
  const auto answer = check(request);
  if (!answer.plan) {
    std::fputs(check_text(answer, o.question.style()).c_str(), stdout);
    return kExitNo;
  }
  PlanRequest plan_request;
  plan_request.model = answer.request.model;
  plan_request.workload = request.workload;
  Plan plan = *answer.plan;
  plan.layout.replicas = s.replicas;
  SimulationOptions options;
  options.requests = s.requests;
  options.seed = s.seed;
  options.record_steps = s.trace_out.empty() ? 0 : 20000;
  const auto result = simulate_plan(plan_request, plan, options);
  if (!s.trace_out.empty()) {
    std::ofstream out(s.trace_out);
    out << perfetto_trace(result);
    if (!out) throw InputError("--trace-out", 0, "", "cannot write " + s.trace_out);
  }
  const Style style = o.question.style();
  if (o.question.json) {
    std::fputs(simulation_json(result).c_str(), stdout);
  } else {
    std::fputs((style.bold(request.model->name) + "  " + to_string(plan.layout) + " on " + request.cluster.name + "; " +
                workload_line(request.workload, request.goal) + "\n")
                   .c_str(),
               stdout);
    std::fputs(simulation_text(result, style).c_str(), stdout);
  }
  return result.slos_met() ? kExitFound : kExitNo;
}

}  // namespace

void add_check_command(CLI::App& app, const CommandLine& line, std::vector<std::function<int()>>& handlers) {
  auto* sub = app.add_subcommand(
      "check", "a vLLM command: is it accepted, what does it become, does it fit, what would be better");
  auto o = command_options(*sub);
  sub->footer(
      "shardwise check MODEL --gpus 8xH100 -- --tensor-parallel-size 2 --data-parallel-size 4\n"
      "Exit code 0: it starts and keeps the SLOs; 1: it does not; 2: the question cannot be read.");
  handlers.push_back([o, &line] { return run_check(*o, line.vllm); });
}

void add_memory_command(CLI::App& app, const CommandLine& line, std::vector<std::function<int()>>& handlers) {
  auto* sub = app.add_subcommand(
      "memory", "what every rank of a vLLM command holds, KV blocks and tokens, the longest max_model_len");
  auto o = command_options(*sub);
  sub->footer("shardwise memory MODEL --gpus 8xH100 -- --tensor-parallel-size 8");
  handlers.push_back([o, &line] { return run_memory(*o, line.vllm); });
}

void add_estimate_command(CLI::App& app, const CommandLine& line, std::vector<std::function<int()>>& handlers) {
  auto* sub = app.add_subcommand(
      "estimate", "one command's step times by operator, TTFT, TPOT, throughput, and what they depend on");
  auto o = command_options(*sub);
  sub->footer("shardwise estimate MODEL --gpus 8xH100 --concurrency 64 -- --tensor-parallel-size 8");
  handlers.push_back([o, &line] { return run_estimate(*o, line.vllm); });
}

void add_simulate_command(CLI::App& app, const CommandLine& line, std::vector<std::function<int()>>& handlers) {
  auto* sub = app.add_subcommand(
      "simulate", "vLLM's scheduler step by step on a workload or trace: percentiles, timeline, preemptions");
  auto o = command_options(*sub);
  auto s = std::make_shared<SimulateOptions>();
  sub->add_option("--requests", s->requests,
                  "how many requests; default 10 x concurrency, at least 1,000, or the whole trace")
      ->check(CLI::PositiveNumber);
  sub->add_option("--seed", s->seed, "the same seed gives the same bytes");
  sub->add_option("--replicas", s->replicas, "equal deployments behind a router")->check(CLI::PositiveNumber);
  sub->add_option("--trace-out", s->trace_out, "write a trace that Perfetto opens");
  sub->footer("shardwise simulate MODEL --gpus 8xH100 --concurrency 64 -- --tensor-parallel-size 8");
  handlers.push_back([o, s, &line] { return run_simulate(*o, *s, line.vllm); });
}

}  // namespace shardwise
