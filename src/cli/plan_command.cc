#include <filesystem>

#include "app/compare.h"
#include "app/plan.h"
#include "base/input_error.h"
#include "cli/command.h"
#include "cli/options.h"
#include "cli/output.h"
#include "config/ranges.h"
#include "launch/launch_folder.h"
#include "report/report.h"

namespace shardwise {
namespace {

struct PlanOptions {
  QuestionOptions question;
  std::string why_not, emit;
  std::optional<std::int64_t> min_model_len;
  std::optional<int> max_gpus, replicas;
  double budget = 1;
  std::vector<std::string> offers;  ///< --gpus
  std::vector<int> taken;
  std::size_t show = 10;
  std::optional<std::size_t> simulate;
  bool force = false, fewest = false, allow_replicas = false, no_explain = false;
};

PlanRequest plan_request_of(const PlanOptions& o, const std::vector<std::string>& vllm_flags,
                            std::vector<Assumption>& assumed) {
  PlanRequest request;
  request.model_spec = o.question.model;
  request.model = model_of(o.question.model);
  request.cluster = cluster_of(o.question);
  request.calibration = calibration_of(o.question, *request.model, request.cluster);
  if (!o.question.calibration.empty())
    assumed.push_back({"calibration", o.question.calibration, "predictions of the measured machine"});
  request.goal = o.question.goal.empty() ? Goal::balanced : parse_goal(o.question.goal, "--goal");
  if (!o.question.vllm.empty()) request.vllm_version = parse_vllm_version(o.question.vllm);
  request.pinned = parse_vllm_flags(behind_model(o.question.model, vllm_flags), request.vllm_version);
  if (request.pinned.model == o.question.model) request.pinned.model.reset();
  request.workload = workload_of(o.question, longest_request(*request.model, request.pinned), &assumed);
  if (o.replicas) request.pins["replicas"] = *o.replicas;
  request.allow_replicas = o.allow_replicas;
  request.min_model_len = o.min_model_len;
  request.max_gpus = o.max_gpus;
  request.budget = o.budget;
  request.gpus_taken = o.taken;
  request.fewest_gpus = o.fewest;
  request.threads = o.question.threads;
  request.explain = !o.no_explain;
  // What is listed is simulated.
  request.simulate_finalists = o.simulate;
  if (!o.simulate && o.show > 10) request.simulate_finalists = o.show;
  return request;
}

void emit(const PlanOptions& o, const PlanRequest& request, const Plan& plan) {
  if (o.emit.empty()) return;
  const auto files = launch_files_of(request, plan);
  write_launch_folder(o.emit, files, o.force);
  tell(std::to_string(files.size()) + " files written to " + o.emit);
  if (const auto& folder = request.model->name; std::filesystem::is_directory(folder) && !folder.starts_with('/'))
    tell("the model is the folder " + folder + " of this machine: every node needs it at the same place");
}

int run_plan(const PlanOptions& o, const std::vector<std::string>& vllm_flags) {
  std::vector<Assumption> assumed;
  if (!o.why_not.empty()) expect_why_not(o.why_not);
  const PlanRequest request = plan_request_of(o, vllm_flags, assumed);
  PlanAnswer answer;
  {
    Progress progress("planning " + request.model->name + " on " + request.cluster.name);
    answer = make_plan(request);
  }
  answer.assumptions.insert(answer.assumptions.begin(), assumed.begin(), assumed.end());
  const Style style = o.question.style();
  if (answer.found()) emit(o, answer.request, answer.search.plans.front());
  print(o.question.json ? plan_json(answer) : plan_text(answer, style, o.show), style);
  if (!o.why_not.empty() && !o.question.json) print(why_not_text(why_not(answer, o.why_not), style), style);
  return answer.found() ? kExitFound : kExitNo;
}

/// What asks about one cluster has no answer for several.
void refuse_of_one(const PlanOptions& o) {
  for (const auto& [flag, given] : {std::pair("--why-not", !o.why_not.empty()), {"--gpus-taken", !o.taken.empty()}})
    if (given) throw InputError(flag, 0, "", "is about one offer, --gpus names several", "name one");
}

int run_compare(PlanOptions o, const std::vector<std::string>& vllm_flags) {
  std::vector<PlanRequest> requests;
  for (const auto& offer : o.offers) {
    std::vector<Assumption> assumed;
    o.question.gpus = offer;
    requests.push_back(plan_request_of(o, vllm_flags, assumed));
  }
  CompareAnswer answer;
  {
    Progress progress("planning " + requests.front().model->name + " on " + std::to_string(requests.size()) +
                      " offers");
    answer = compare(requests);
  }
  const Style style = o.question.style();
  if (answer.best) emit(o, answer.offers[*answer.best].request, *answer.offers[*answer.best].plan);
  print(o.question.json ? comparison_json(answer) : comparison_text(answer, style), style);
  return answer.most_tokens ? kExitFound : kExitNo;
}

/// What plan and compare ask alike.
void add_plan_options(Command& command, PlanOptions& o) {
  command.option("--min-model-len", o.min_model_len, "max_model_len of the plan must be at least this")
      .between(1, ranges::most_tokens);
  command.option("--max-gpus", o.max_gpus, "use at most so many GPUs").between(1, kMostGpus);
  command.option("--budget", o.budget, "times the work that a search may take by itself (300,000 layouts)")
      .between(1, 1e4);
  command.flag("--fewest-gpus", o.fewest, "the smallest number of GPUs that serves this load within the SLOs");
  command.option("--replicas", o.replicas, "separate deployments behind a router (pin)").between(1, kMostCopies);
  command.flag("--allow-replicas", o.allow_replicas,
               "let separate deployments of a dense model compete with data parallel");
  command
      .option("--simulate", o.simulate,
              "of how many of the best plans the scheduler-exact simulator decides (and of those close behind); "
              "default 10 up to 20,000 requests in flight a replica, 0 = the closed form alone")
      .between(0, 1e6);
}

void add_offers(Command& command, PlanOptions& o, const std::string& doc) {
  command.option("--gpus", o.offers, doc).required().one_value_each().comma_separated();
}

/// vLLM's flags stand among the command's own, too.
Handler with_flags(Command command, const std::vector<std::string>& vllm,
                   std::function<int(const std::vector<std::string>&)> run) {
  command.take_others();
  return [command, &vllm, run = std::move(run)] {
    auto flags = command.others();
    flags.insert(flags.end(), vllm.begin(), vllm.end());
    return run(flags);
  };
}

}  // namespace

Handler add_compare(Command command, const std::vector<std::string>& vllm) {
  auto o = std::make_shared<PlanOptions>();
  o->question.add_to(command, true, QuestionOptions::Gpus::own);
  add_offers(command, *o, "an offer; several: --gpus 8xH100 --gpus 4xB200, or 8xH100,4xB200");
  add_plan_options(command, *o);
  command.footer(
      "The best plan of each offer, with what it costs; vLLM's flags pin parts of all of them, as in plan.\n"
      "shardwise compare Llama-3.1-70B --gpus 8xH100,4xB200 --price H100=2.5,B200=4.5 --concurrency 64\n"
      "Exit code 0: a plan stands on one of them; 1: on none; 2: the question cannot be read.");
  return with_flags(command, vllm, [o](const auto& flags) { return run_compare(*o, flags); });
}

Handler add_plan(Command command, const std::vector<std::string>& vllm) {
  auto o = std::make_shared<PlanOptions>();
  o->question.add_to(command, true, QuestionOptions::Gpus::own);
  add_offers(command, *o,
             "8xH100, 2x8xH200, 2xp5.48xlarge, or a cluster file (.yaml); several offers are laid side by side: "
             "8xH100,4xB200");
  add_plan_options(command, *o);
  command.option("--gpus-taken", o->taken, "GPUs in use by others, per node: 2,0").comma_separated().between(0, 1024);
  command.option("--why-not", o->why_not, "why another plan lost: tp=8,pp=1");
  command.option("--emit", o->emit, "directory for launch files");
  command.flag("--force", o->force, "write them into a directory that has other files, too");
  command.option("--show", o->show, "plans listed").shown_default("10").between(0, 1e6);
  command.flag("--no-explain", o->no_explain, "leave out ladder and what-if searches");
  command.footer(
      "Every `vllm serve` flag is taken too and pins that part of the plan: --tensor-parallel-size 4, --kv-cache-dtype "
      "fp8 ...\n"
      "Exit code 0: a plan stands; 1: none does; 2: the question cannot be read.");
  return with_flags(command, vllm, [o](const auto& flags) {
    if (o->offers.size() > 1) {
      refuse_of_one(*o);
      return run_compare(*o, flags);
    }
    o->question.gpus = o->offers.front();
    return run_plan(*o, flags);
  });
}

}  // namespace shardwise
