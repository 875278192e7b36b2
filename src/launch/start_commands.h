#pragma once
// The `vllm serve` commands that files start: shell and Slurm scripts, Docker Compose, Kubernetes.
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace shardwise {

struct PlacedWord {
  std::string text;
  int line = 0;
};

/// One `vllm serve`, as one node runs it.
struct StartCommand {
  std::string file;
  int line = 0;                            ///< of `vllm serve`
  std::string name;                        ///< of the pod or service; "" where there is none
  std::string form;                        ///< "shell", "Slurm", "Compose", "Kubernetes"
  int node = 0;                            ///< of the same text run on several nodes, from 0
  std::vector<PlacedWord> words;           ///< behind `vllm serve`
  std::map<std::string, std::string> env;  ///< set for it
  std::optional<std::string> image;        ///< of its container
  std::optional<int> gpus;                 ///< that its container asks for
};

using Variables = std::map<std::string, std::vector<std::string>>;  ///< of a shell; arrays have several words

/// Commands of a shell script, run by `variables`. What a variable nobody sets stands for is kept as ${NAME}; where a
/// test is not known both branches run. `#SBATCH --nodes=N`: what srun starts runs on every node.
std::vector<StartCommand> read_shell(const std::string& text, const std::string& file, const Variables& variables,
                                     int first_line = 1);
/// Compose services; pods of Kubernetes objects, and of LeaderWorkerSets every pod of one group.
std::vector<StartCommand> read_containers(const std::string& text, const std::string& file, const Variables& variables);

/// Every command of a file, or of the files of a folder by name; those of one form together. Throws InputError if there
/// is none.
std::vector<std::vector<StartCommand>> read_start_commands(const std::string& path, const Variables& variables);

/// "0.32.0" of "vllm/vllm-openai:v0.32.0-cu129"; nullopt of tags that name no version.
std::optional<std::string> version_of_image(const std::string& image);

}  // namespace shardwise
