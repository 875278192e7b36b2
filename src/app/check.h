#pragma once
// `check`: a vLLM command as given -> does vLLM take it, what does it become, does it fit, what will it do, and which
// changes would gain what.
#include <optional>
#include <string>
#include <vector>

#include "app/plan.h"
#include "parallel/resolve.h"

namespace shardwise {

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

/// --hf-overrides change the model: answer.request.model is the changed one.
CheckAnswer check(const CheckRequest& request);

}  // namespace shardwise
