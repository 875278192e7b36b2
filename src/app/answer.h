#pragma once
// Questions and answers as values; who fills them: plan.h, check.h, estimate.h, memory_answer.h, calibrate.h. What
// `simulate` asks and answers is in simulation.h, what `place` does in place.h.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cost/cost.h"
#include "hardware/hardware.h"
#include "launch/launch.h"
#include "measured/calibration.h"
#include "memory/memory_plan.h"
#include "memory/what_if.h"
#include "model/model.h"
#include "parallel/engine_args.h"
#include "parallel/resolve.h"
#include "search/search.h"
#include "serve/estimate.h"
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
  double budget = 1;  ///< times the layouts that a search looks at by itself (search.h, kMaxLayouts)
  std::optional<int> max_gpus;
  bool fewest_gpus = false;
  VllmVersion vllm_version = kDefaultVllmVersion;
  unsigned threads = 0;
  /// Of how many of the best shapes the simulator decides; 0 = the closed form alone; not given: 10 where that is
  /// quick.
  std::optional<std::size_t> simulate_finalists;
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
  std::optional<int> ladder_load;  ///< requests in flight of every step, where the load is open
  std::vector<CurvePoint> curves;
  std::vector<Flip> flips;
};

struct PlanAnswer {
  PlanRequest request;
  std::vector<Assumption> assumptions;
  SearchResult search;     ///< plans best first
  bool simulated = false;  ///< all of them by the simulator, else all by the closed form
  std::vector<std::string> warnings;
  Explanation explanation;            ///< of plans[0]
  std::vector<LaunchCommand> launch;  ///< of plans[0], every node
  std::vector<Change> nearest;        ///< when no plan stands: what would
  std::string no_reason;              ///< when no plan stands: what is missing, in one or two sentences
  bool found() const { return !search.plans.empty(); }
};

/// Why a given plan is not the answer: "tp=8,pp=1" -> the best plan that has those values and what it loses, or the
/// rules that refuse all of them.
struct WhyNot {
  std::string question;
  std::optional<Plan> best;
  double score_ratio = 0;
  std::vector<RejectionCount> rejected;
  std::vector<std::string> words;
};

struct CheckRequest {
  std::string model_spec;
  std::shared_ptr<const Model> model;
  Cluster cluster;
  EngineArgs args;    ///< as given behind `--`
  Environment env;    ///< VLLM_* that the command will see
  Workload workload;  ///< concurrency empty and no rate: a load that suits the command is chosen and printed
  Goal goal = Goal::balanced;
  VllmVersion vllm_version = kDefaultVllmVersion;
  std::shared_ptr<const Calibration> calibration;  ///< of this machine; null = none
  unsigned threads = 0;
  bool simulate = true;      ///< the estimates are those of simulated runs; else of the closed form
  bool find_changes = true;  ///< look for better commands (a few searches)
};

/// One resolved value beside what was given.
struct ResolvedRow {
  std::string name, given, resolved, why;
};

struct CheckAnswer {
  CheckRequest request;
  std::optional<Refusal> refusal;  ///< vLLM's, in its order of checks; model construction included
  std::optional<Resolved> resolved;
  std::vector<ResolvedRow> rows;  ///< what was given, what vLLM makes of it, why they differ
  std::optional<MemoryPlan> memory;
  std::optional<Plan> plan;               ///< with its estimate, if it starts
  std::vector<OperatorTime> decode_step;  ///< where a decode step's time goes at that load, largest first
  double load = 0;                        ///< requests in flight that the estimate is for
  std::vector<Change> changes;            ///< better commands, best first, each with its gain in `goal`
  std::vector<std::string> warnings;
  std::vector<std::string> not_used;  ///< flags that change nothing here
  bool starts() const { return plan.has_value(); }
};

struct PricedWhatIf : MemoryWhatIf {
  Seconds token_time;  ///< of one request alone, of the workload's mean length
};

struct MemoryAnswer {
  CheckRequest request;
  std::optional<Refusal> refusal;
  EngineConfig engine;
  MemoryPlan memory;
  std::optional<std::int64_t> longest_model_len;  ///< the largest max_model_len that starts
  std::optional<std::int64_t> safe_model_len;     ///< the largest at the low end of the KV memory's interval
  double concurrency_at_mean = 0;                 ///< requests of the workload's mean length at once, per engine
  double recommended_gpu_memory_utilization = 0;  ///< the highest that is safe
  std::int64_t kv_tokens_at_recommended = 0;      ///< of one engine
  Seconds token_time;                             ///< of one request alone, of the workload's mean length
  std::vector<PricedWhatIf> what_ifs;             ///< those that vLLM accepts
  std::vector<std::string> warnings;
};

/// Relative change of TPOT when one thing grows by 1 %: -0.6 = "1 % more bandwidth, 0.6 % less TPOT".
struct Sensitivity {
  std::string of;
  double elasticity = 0;
};

struct EstimateAnswer {
  CheckAnswer check;
  StepBatch decode, prefill;  ///< the steps below, on one data-parallel rank
  Seconds decode_time, prefill_time;
  std::vector<OperatorTime> decode_step, prefill_step;  ///< largest first
  std::vector<Sensitivity> sensitivities;
};

/// A measured number beside its prediction with the shipped constants and with the calibration.
struct CalibrationRow {
  std::string source, what, unit;
  double measured = 0;
  Interval before, after;
};

struct CalibrationAnswer {
  Calibration calibration;
  std::vector<CalibrationRow> rows;
  std::vector<std::string> notes;
};

}  // namespace shardwise
