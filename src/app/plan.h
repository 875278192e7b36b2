#pragma once
// The main job as one value -> value function: a model, a cluster, a workload and a goal in; ranked plans, reasons and
// launch commands out. Silent: rendering is src/report, printing src/cli.
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hardware/hardware.h"
#include "launch/launch.h"
#include "measured/calibration.h"
#include "model/model.h"
#include "parallel/engine_args.h"
#include "search/search.h"
#include "workload/workload.h"

namespace shardwise {

struct PlanRequest {
  std::string model_spec;  ///< as the user wrote it; goes into the launch commands
  std::shared_ptr<const Model> model;
  Cluster cluster;
  std::vector<int> gpus_taken;  ///< per node, in use by others
  Workload workload;
  Goal goal = Goal::balanced;
  EngineArgs pinned;            ///< vLLM arguments that the plan must keep
  Pins pins;                    ///< further parts of the plan that it must keep, before `pinned`: replicas
  bool allow_replicas = false;  ///< a dense model may be split into separate deployments
  std::optional<std::int64_t> min_model_len;  ///< max_model_len of the plan is at least this
  std::optional<int> max_gpus;
  bool fewest_gpus = false;
  VllmVersion vllm_version = kDefaultVllmVersion;
  unsigned threads = 0;
  std::optional<int> simulate_finalists;  ///< of how many of the best plans the simulator decides; not given: 10 where
                                          ///< that is quick or needed, none without `explain`
  std::shared_ptr<const Calibration> calibration;  ///< of this machine; null = none
  bool explain = true;                             ///< ladder, flips and changes (a few further searches)
};

/// A value that nobody gave, printed with every answer.
struct Assumption {
  std::string name, value, why;
};

/// From the simplest plan that fits to the winner, one change at a time.
struct LadderStep {
  Layout layout;
  std::string change;                       ///< "TP 1 -> 2"
  std::optional<ServingEstimate> estimate;  ///< nullopt: does not fit or is refused
  double score = 0;
  std::string note;  ///< what the step buys, or why it does not stand
};

/// The best plan for one value of one part of the plan, all else free.
struct CurvePoint {
  std::string dimension;  ///< tensor_parallel_size ...
  std::string value;
  std::optional<Layout> layout;  ///< nullopt: nothing legal fits
  std::optional<ServingEstimate> estimate;
  double score = 0;  ///< relative to the winner (1 = as good)
  std::string note;  ///< the rule that refuses it
};

/// A change of the question, and the plan that would then win.
struct Flip {
  std::string change;
  Layout winner;
  bool same = false;
  double gain = 0;
};

/// A change that makes a plan fit (when nothing does) or makes it better.
struct Change {
  std::string what;  ///< "--kv-cache-dtype fp8", "16xH100"
  bool fits = false;
  std::optional<Plan> plan;
  double gain = 0;  ///< of the goal's score, 0.12 = 12 % better
  std::string note;
};

struct Explanation {
  std::vector<std::string>
      reasons;          ///< why this TP, DP, PP, EP, placement: one sentence each, with the number that decides
  std::string binding;  ///< the constraint that holds the plan where it is
  std::optional<std::size_t> runner_up;  ///< index into plans
  std::string runner_up_note;
  std::vector<LadderStep> ladder;
  std::vector<CurvePoint> curves;
  std::vector<Flip> flips;
};

struct PlanAnswer {
  PlanRequest request;
  std::vector<Assumption> assumptions;
  SearchResult search;     ///< plans best first
  bool simulated = false;  ///< the first of them by the simulator
  std::vector<std::string> warnings;
  Explanation explanation;            ///< of plans[0]
  std::vector<LaunchCommand> launch;  ///< of plans[0], every node
  std::vector<Change> nearest;        ///< when no plan stands: what would
  std::string no_reason;              ///< when no plan stands: what is missing, in one or two sentences
  bool found() const { return !search.plans.empty(); }
};

/// The model as the arguments make it: `model` itself, or with --hf-overrides applied. Applying them twice changes
/// nothing. Throws InputError if the overrides are no object or leave a config that cannot be read.
std::shared_ptr<const Model> with_hf_overrides(const std::shared_ptr<const Model>& model, const EngineArgs& args);

/// --hf-overrides among the pinned arguments change the model; answer.request.model is the changed one. Throws
/// InputError on contradictory pins or a request that vLLM refuses whatever the layout.
PlanAnswer make_plan(const PlanRequest& request);

/// The search that make_plan runs, of request.model as it is; `request` must outlive it.
SearchRequest search_request(const PlanRequest& request, std::vector<Assumption>* assumptions);

/// Launch commands of any plan of the answer.
std::vector<LaunchCommand> launch_plan(const PlanRequest& request, const Plan& plan);

/// Launch files of any plan, by name below the target directory (docs/launch.md).
std::map<std::string, std::string> launch_files_of(const PlanRequest& request, const Plan& plan);

/// Why a given plan is not the answer: "tp=8,pp=1" -> the best plan that has those values and what it loses, or the
/// rules that refuse all of them.
struct WhyNot {
  std::string question;
  std::optional<Plan> best;
  double score_ratio = 0;
  std::vector<RejectionCount> rejected;
  std::vector<std::string> words;
};
WhyNot why_not(const PlanAnswer& answer, const std::string& question);

}  // namespace shardwise
