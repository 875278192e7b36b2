#include "model/bundle.h"

#include <algorithm>
#include <unordered_map>

#include "base/embedded.h"
#include "base/input_error.h"
#include "base/text.h"
#include "config/json.h"
#include "model/load.h"
#include "model/source.h"

namespace shardwise {
namespace {

// index.txt: one model a line, "STEM<tab>HUB_ID<tab>ALIAS<tab>ALIAS...", written by tools/models/bundle.py.
template <class F>
void for_each_row(F&& use) {
  const auto index = embedded_file("models/index.txt");
  if (!index) return;
  std::size_t at = 0;
  while (at < index->size()) {
    const auto end = std::min(index->find('\n', at), index->size());
    const auto line = index->substr(at, end - at);
    at = end + 1;
    if (!line.empty() && line[0] != '#') use(line);
  }
}

// Lower case, "org--name" as "org/name", and without a remark in brackets at the end ("DeepSeek-V4 (from path name)").
std::string normal(std::string_view spec) {
  std::string key = to_lower(trim(spec));
  if (const auto remark = key.rfind(" ("); remark != std::string::npos && remark > 0 && key.ends_with(')'))
    key.resize(remark);
  if (const auto dashes = key.find("--"); dashes != std::string::npos && key.find('/') == std::string::npos)
    key.replace(dashes, 2, "/");
  return key;
}

const std::unordered_map<std::string, std::string>& lookup() {
  static const auto table = [] {
    std::unordered_map<std::string, std::string> keys;
    std::vector<std::pair<std::string, std::string>> last_parts;
    for_each_row([&](std::string_view line) {
      const auto cells = split(line, '\t');
      for (std::size_t i = 1; i < cells.size(); ++i) {
        const auto key = normal(cells[i]);
        keys.try_emplace(key, cells[0]);
        if (const auto slash = key.find('/'); slash != std::string::npos)
          last_parts.emplace_back(key.substr(slash + 1), cells[0]);
      }
      keys.try_emplace(normal(cells[0]), cells[0]);
    });
    for (auto& [key, stem] : last_parts) keys.try_emplace(std::move(key), std::move(stem));
    return keys;
  }();
  return table;
}

}  // namespace

const std::vector<BundledModel>& bundled_models() {
  static const auto models = [] {
    std::vector<BundledModel> out;
    for_each_row([&](std::string_view line) {
      auto cells = split(line, '\t');
      if (cells.size() < 2) return;
      BundledModel model{cells[1], {}};
      model.aliases.assign(cells.begin() + 2, cells.end());
      out.push_back(std::move(model));
    });
    return out;
  }();
  return models;
}

std::optional<std::string> find_bundled(std::string_view spec) {
  const auto it = lookup().find(normal(spec));
  if (it == lookup().end()) return std::nullopt;
  return it->second;
}

Model load_bundled(const std::string& stem) {
  const std::string file = "models/" + stem + ".json";
  const auto text = embedded_file(file);
  if (!text) throw InputError(file, 0, "", "is named by the index but not bundled");
  Json entry = parse_json(*text, file);
  const auto config = entry.find("config");
  if (config == entry.end()) throw InputError(file, 0, "config", "is missing");
  ModelSource source{std::move(*config), {}};
  if (const auto quant = entry.find("hf_quant_config"); quant != entry.end())
    source.hf_quant_config = std::move(*quant);
  Model model = read_source(std::move(source), *text, "bundled " + stem);
  model.name = entry.value("id", stem);
  return model;
}

}  // namespace shardwise
