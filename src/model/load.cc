#include "model/load.h"

#include <algorithm>
#include <filesystem>

#include "base/embedded.h"
#include "base/input_error.h"
#include "base/text.h"
#include "config/hub.h"
#include "config/json.h"
#include "model/bundle.h"
#include "model/mistral_params.h"

namespace shardwise {
namespace {

bool is_repo_id(const std::string& spec) {
  const auto slash = spec.find('/');
  if (slash == 0 || slash == std::string::npos || slash + 1 == spec.size() ||
      spec.find('/', slash + 1) != std::string::npos)
    return false;
  return std::all_of(spec.begin(), spec.end(),
                     [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '/'; }) &&
         !spec.starts_with('.') && spec[slash + 1] != '.';
}

std::string directory_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? std::string(".") : slash == 0 ? "/" : path.substr(0, slash);
}

/// The files of a model below `directory`, whichever of the two formats they are in. vLLM itself is given `name`.
std::optional<Model> read_directory(TextSource& source, const std::string& directory, const std::string& name,
                                    Producer producer) {
  std::optional<Model> model;
  if (const auto config = source.read(directory + "/config.json")) {
    const auto quant = source.read(directory + "/hf_quant_config.json");
    model = read_hf_config(*config, quant.value_or(""), directory + "/config.json", producer);
  } else if (const auto params = source.read(directory + "/params.json")) {
    model = read_mistral_params(*params, directory + "/params.json");
  }
  if (model) model->name = name;
  return model;
}

/// A file given by its path: vLLM is given the directory that holds it.
Model read_file_of(TextSource& disk, const std::string& path, const std::string& text, Producer producer) {
  const auto directory = directory_of(path);
  const auto file = path.substr(path.rfind('/') + 1);
  Model model = file == "params.json"
                    ? read_mistral_params(text, path)
                    : read_hf_config(text, disk.read(directory + "/hf_quant_config.json").value_or(""), path, producer);
  model.name = directory;
  if (file != "params.json" && file != "config.json")
    model.remarks.push_back("read from " + file + "; vLLM looks for config.json in " + directory);
  return model;
}

/// Whether `path` is a GGUF file, a repository's with its file type behind a colon, or a directory of nothing else.
bool is_gguf(const std::string& path) {
  const auto lower = to_lower(path);
  if (lower.ends_with(".gguf") || lower.ends_with("-gguf") || lower.find("-gguf:") != std::string::npos ||
      lower.find(".gguf:") != std::string::npos)
    return true;
  std::error_code ignored;
  return std::any_of(std::filesystem::directory_iterator(path, ignored), std::filesystem::directory_iterator(),
                     [](const auto& entry) { return entry.path().extension() == ".gguf"; });
}

[[noreturn]] void refuse_gguf(const std::string& path) {
  throw InputError(
      "MODEL", 0, "",
      "'" + path +
          "' is GGUF, of which nothing is read: neither sizes nor tensor types; vLLM itself reads GGUF until "
          "0.23, and with a plugin from then on",
      "give the model it was made from (hub id, or directory with config.json), with its weights as they are "
      "there: bfloat16 weights are about 3.5 times those of Q4_K_M, 1.9 times those of Q8_0");
}

[[noreturn]] void refuse_unknown(const std::string& spec) {
  auto like = bundled_names_like(spec);
  if (like.empty())
    if (const auto slash = spec.rfind('/'); slash != std::string::npos)
      like = bundled_names_like(spec.substr(slash + 1));
  std::string hint = like.empty() ? "" : "did you mean '" + join(like, "', '") + "'?";
  if (hint.empty()) {
    std::vector<std::string> names;
    for (const auto& model : bundled_models()) {
      names.push_back(model.name);
      names.push_back(model.name.substr(model.name.find('/') + 1));
      names.insert(names.end(), model.aliases.begin(), model.aliases.end());
    }
    hint = did_you_mean(spec, names);
  }
  if (hint.empty()) hint = "give a bundled name (shardwise models), a directory with config.json, or a hub id org/name";
  throw InputError("MODEL", 0, "", "unknown model '" + spec + "'", hint);
}

std::optional<Model> load_path(const std::string& path, TextSource& disk, Producer producer) {
  if (path.ends_with(".json") || path.starts_with("/dev/"))  // a pipe is read once
    if (const auto text = disk.read(path)) return read_file_of(disk, path, *text, producer);
  if (auto model = read_directory(disk, path, path, producer)) return model;
  if (const auto snapshot = hf_snapshot_in(path, disk)) return read_directory(disk, *snapshot, *snapshot, producer);
  return std::nullopt;
}

}  // namespace

Model load_model(const std::string& spec, TextSource& disk, TextSource* hub) {
  if (spec.empty())
    throw InputError("MODEL", 0, "", "is empty", "give a bundled name, a directory, a config.json or a hub id");
  std::string path = spec;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  if (auto model = load_path(path, disk, Producer::assumed)) return std::move(*model);
  if (is_gguf(path)) refuse_gguf(path);
  const auto bundled = find_bundled(spec);
  const bool repository = is_repo_id(spec);
  if (repository)
    if (const auto snapshot = hf_cached_snapshot(hf_cache_dir(), spec, disk))
      if (auto model = read_directory(disk, *snapshot, spec, Producer::assumed)) return std::move(*model);
  if (bundled && !bundled->recorded_only) return load_bundled(*bundled);
  if (repository && hub) {
    if (auto model = read_directory(*hub, spec, spec, Producer::assumed)) return std::move(*model);
    throw InputError("MODEL", 0, "", "the hub has no '" + spec + "' with a config.json", "check the name");
  }
  refuse_unknown(spec);
}

Model load_recorded_model(const std::string& spec, TextSource& disk) {
  if (auto model = load_path(spec, disk, Producer::as_stated)) return std::move(*model);
  if (const auto bundled = find_recorded(spec)) return load_bundled_file(bundled->stem);
  refuse_unknown(spec);
}

}  // namespace shardwise
