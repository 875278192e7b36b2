#include "launch/start_commands.h"

#include <algorithm>
#include <filesystem>

#include "base/input_error.h"
#include "config/text_source.h"

namespace shardwise {
namespace {

bool is_yaml(const std::string& name) { return name.ends_with(".yaml") || name.ends_with(".yml"); }

bool is_script(const std::filesystem::path& path) {
  static constexpr std::string_view endings[] = {".sh", ".bash", ".sbatch", ".slurm", ".slm", ".job", ".cmd", ""};
  return std::ranges::find(endings, path.extension().string()) != std::end(endings);
}

std::vector<StartCommand> read_one(const std::string& path, const std::string& name, const Variables& variables) {
  const auto text = read_file(path);
  if (!is_yaml(name)) return read_shell(text, name, variables);
  if (text.find("vllm") == std::string::npos) return {};
  return read_containers(text, name, variables);
}

}  // namespace

std::vector<std::vector<StartCommand>> read_start_commands(const std::string& path, const Variables& variables) {
  namespace fs = std::filesystem;
  std::vector<fs::path> files;
  std::error_code error;
  if (fs::is_directory(path, error)) {
    for (const auto& entry : fs::directory_iterator(path, error))
      if (entry.is_regular_file() && (is_yaml(entry.path().string()) || is_script(entry.path())))
        files.push_back(entry.path());
    std::ranges::sort(files);
  } else {
    files.emplace_back(path);
  }
  std::vector<std::vector<StartCommand>> forms;
  for (const auto& file : files)
    for (auto& command : read_one(file.string(), file.filename().string(), variables)) {
      const auto at = std::ranges::find_if(forms, [&](const auto& f) {
        return f.front().form == command.form && (command.form != "Slurm" || f.front().file == command.file);
      });
      at == forms.end() ? forms.push_back({std::move(command)}) : at->push_back(std::move(command));
    }
  if (forms.empty())
    throw InputError(path, 0, "", "no `vllm serve` in it",
                     "a script, Slurm or Compose file or Kubernetes objects, or a folder of them");
  return forms;
}

}  // namespace shardwise
