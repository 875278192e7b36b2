#include "model/load.h"

#include <algorithm>

#include "base/embedded.h"
#include "base/input_error.h"
#include "base/text.h"
#include "config/hub.h"
#include "config/json.h"
#include "model/bundle.h"

namespace shardwise {
namespace {

bool is_repo_id(const std::string& spec) {
  const auto slash = spec.find('/');
  if (slash == 0 || slash == std::string::npos || slash + 1 == spec.size() ||
      spec.find('/', slash + 1) != std::string::npos)
    return false;
  return std::all_of(spec.begin(), spec.end(),
                     [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '/'; }) &&
         !spec.starts_with('.');
}

std::string directory_of(const std::string& path) {
  const auto slash = path.rfind('/');
  return slash == std::string::npos ? std::string(".") : path.substr(0, slash);
}

Model read_from(TextSource& source, const std::string& directory, const std::string& config_file,
                const std::string& name) {
  const auto config = source.read(config_file);
  if (!config) throw InputError(config_file, 0, "", "no such file");
  const auto quant = source.read(directory + "/hf_quant_config.json");
  Model model = read_hf_config(*config, quant.value_or(""), config_file);
  model.name = name;
  return model;
}

}  // namespace

Model load_model(const std::string& spec, TextSource& disk, TextSource* hub) {
  if (spec.empty())
    throw InputError("MODEL", 0, "", "is empty", "give a bundled name, a directory, a config.json or a hub id");
  std::string path = spec;
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  if (path.ends_with(".json") && disk.read(path)) return read_from(disk, directory_of(path), path, spec);
  if (disk.read(path + "/config.json")) return read_from(disk, path, path + "/config.json", spec);
  if (const auto name = find_bundled(spec)) return load_bundled(*name);
  if (is_repo_id(spec)) {
    if (const auto snapshot = hf_cached_snapshot(hf_cache_dir(), spec, disk))
      return read_from(disk, *snapshot, *snapshot + "/config.json", spec);
    if (hub) {
      if (hub->read(spec + "/config.json")) return read_from(*hub, spec, spec + "/config.json", spec);
      throw InputError("MODEL", 0, "", "the hub has no '" + spec + "' with a config.json", "check the name");
    }
  }
  std::vector<std::string> names;
  for (const auto& model : bundled_models()) {
    names.push_back(model.name);
    names.push_back(model.name.substr(model.name.find('/') + 1));
    names.insert(names.end(), model.aliases.begin(), model.aliases.end());
  }
  std::string hint = did_you_mean(spec, names);
  if (hint.empty()) hint = "give a bundled name (shardwise models), a directory with config.json, or a hub id org/name";
  throw InputError("MODEL", 0, "", "unknown model '" + spec + "'", hint);
}

}  // namespace shardwise
