#pragma once
// Options that several commands share, and what they turn into.
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "app/answer.h"
#include "cli/command.h"
#include "report/table.h"

namespace shardwise {

/// The question of plan and check: model, cluster, workload, goal.
struct QuestionOptions {
  std::string model, gpus, price, memory_taken, workload_file, vllm, goal, calibration;
  std::map<std::string, std::vector<std::string>> workload;  ///< by name of a WorkloadOption, as given
  unsigned threads = 0;
  bool json = false, as_benchmark = false;
  std::string color = "auto";

  /// needed: model and one --gpus; optional: both may be left out; own: the command has a --gpus of its own.
  enum class Gpus { needed, optional, own };
  void add_to(Command& command, bool model_positional = true, Gpus kind = Gpus::needed);
  Style style() const;
};

/// The workload that the options describe; what nobody gave goes into `assumed`, and is no longer than `longest` tokens
/// (0 = not known).
Workload workload_of(const QuestionOptions& options, std::int64_t longest, std::vector<Assumption>* assumed);
/// Longest request of a model under these arguments; 0 = not known.
std::int64_t longest_request(const Model& model, const EngineArgs& args);
/// --gpus, with what others hold of it.
Cluster cluster_of(const QuestionOptions& options);
std::shared_ptr<const Model> model_of(const std::string& spec);
/// The calibration file that the options name, null if none; what it knows of the GPUs' memory goes into `cluster`.
std::shared_ptr<const Calibration> calibration_of(const QuestionOptions& options, const Model& model, Cluster& cluster);

/// The question of the commands that take a vLLM command line behind `--`: check, memory, estimate, simulate.
struct CommandOptions {
  QuestionOptions question;
  std::vector<std::string> env;

  void add_to(Command& command, bool needed = true);
};
Environment environment_of(const CommandOptions& options);
/// What stands behind `--` as vLLM gets it: behind the model that the question names, unless it begins with a command.
std::vector<std::string> behind_model(const std::string& model, const std::vector<std::string>& vllm_flags);

CheckRequest check_request_of(const CommandOptions& options, const std::vector<std::string>& vllm_flags);

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
