#pragma once
// Options that several commands share, and what they turn into.
#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "app/plan.h"
#include "report/table.h"

namespace shardwise {

/// The question of plan and check: model, cluster, workload, goal.
struct QuestionOptions {
  std::string model, gpus, isl, osl, trace, vllm, goal, calibration;
  std::vector<std::string> slos, ttft, tpot, e2e;
  int concurrency = 0;
  double rate = 0, burstiness = 1, prefix_share = 0;
  int prefix_groups = 1;
  unsigned threads = 0;
  bool json = false;
  std::string color = "auto";

  void add_to(CLI::App& app, bool model_positional = true);
  Style style() const;
};

/// The workload that the options describe; what nobody gave goes into `assumed`.
Workload workload_of(const QuestionOptions& options, std::vector<Assumption>* assumed);
std::shared_ptr<const Model> model_of(const std::string& spec);
/// The calibration file that the options name, null if none; what it knows of the GPUs' memory goes into `cluster`.
std::shared_ptr<const Calibration> calibration_of(const QuestionOptions& options, const Model& model, Cluster& cluster);

/// Prints "shardwise: ..." on stderr if work takes longer than a second; silent otherwise.
class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shardwise
