#include "model/bundle.h"

#include <algorithm>
#include <cctype>
#include <unordered_map>

#include "base/embedded.h"
#include "base/input_error.h"
#include "base/text.h"
#include "config/json.h"
#include "model/load.h"
#include "model/source.h"

namespace shardwise {
namespace {

// index.txt: one model a line, "STEM<tab>HUB_ID<tab>NAME<tab>NAME...", written by tools/models/bundle.py; "=NAME" is of
// recordings alone.
template <class F>
void for_each_row(F&& use) {
  const auto index = embedded_file("models/index.txt");
  if (!index) return;
  std::size_t at = 0;
  while (at < index->size()) {
    const auto end = std::min(index->find('\n', at), index->size());
    const auto line = index->substr(at, end - at);
    at = end + 1;
    if (!line.empty() && line[0] != '#') use(split(line, '\t'));
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

bool is_repository(std::string_view name) {
  return name.find('/') != std::string_view::npos && name.find(' ') == std::string_view::npos;
}

using Names = std::unordered_map<std::string, BundledName>;

/// Full names come before last parts, last parts before stems, all of them before what recordings say.
Names read_names(bool recorded_first) {
  Names keys;
  std::vector<std::pair<std::string, BundledName>> full, last_parts, stems, recorded, recorded_parts;
  for_each_row([&](const std::vector<std::string>& cells) {
    for (std::size_t i = 1; i < cells.size(); ++i) {
      if (cells[i].starts_with('=')) {
        const BundledName name{cells[0], cells[1], true};
        const auto key = normal(cells[i].substr(1));
        recorded.emplace_back(key, name);
        if (is_repository(key)) recorded_parts.emplace_back(key.substr(key.find('/') + 1), name);
        continue;
      }
      const BundledName name{cells[0], is_repository(cells[i]) ? cells[i] : cells[1]};
      full.emplace_back(normal(cells[i]), name);
      const auto& key = full.back().first;
      if (const auto slash = key.find('/'); slash != std::string::npos)
        last_parts.emplace_back(key.substr(slash + 1), name);
    }
    stems.emplace_back(normal(cells[0]), BundledName{cells[0], cells[1]});
  });
  if (recorded_first) keys.insert(recorded.begin(), recorded.end());
  for (auto* list : {&full, &last_parts, &stems, &recorded, &recorded_parts})
    for (auto& [key, name] : *list) keys.try_emplace(std::move(key), std::move(name));
  return keys;
}

std::optional<BundledName> look_up(const Names& names, std::string_view spec) {
  const auto it = names.find(normal(spec));
  return it == names.end() ? std::nullopt : std::optional(it->second);
}

struct Entry {
  Json json;
  std::string_view text;
};

Entry read_entry(const std::string& stem) {
  const std::string file = "models/" + stem + ".json";
  const auto text = embedded_file(file);
  if (!text) throw InputError(file, 0, "", "is named by the index but not bundled");
  Entry entry{parse_json(*text, file), *text};
  if (!entry.json.contains("config")) throw InputError(file, 0, "config", "is missing");
  return entry;
}

Model read_config_of(const Entry& entry, const std::string& stem, Json config, Producer producer) {
  ModelSource source{std::move(config), entry.json.value("hf_quant_config", Json())};
  const bool named = producer == Producer::assumed && name_modelopt(source);
  Model model = read_source(std::move(source), entry.text, "bundled " + stem);
  if (named) model.remarks.emplace_back(kProducerRemark);
  if (entry.json.value("source", "").starts_with("from memory"))
    model.remarks.emplace_back("the bundled config.json is written " + entry.json.value("source", "") +
                               ", not copied from its repository");
  return model;
}

/// "max_position_embeddings 40960, vocab_size 32000"
std::string fields_text(const Json& fields) {
  std::vector<std::string> out;
  for (const auto& [key, value] : fields.items())
    out.push_back(value.is_object() ? fields_text(value) : key + " " + value.dump());
  return join(out, ", ");
}

/// Letters and digits apart: "Llama3.1-70B" is llama 3 1 70 b.
std::vector<std::string> words_of_name(std::string_view name) {
  std::vector<std::string> out;
  char last = ' ';
  for (const char c : to_lower(name)) {
    const auto u = static_cast<unsigned char>(c);
    const bool word = std::isalnum(u) != 0;
    if (word && (out.empty() || !std::isalnum(static_cast<unsigned char>(last)) ||
                 (std::isdigit(static_cast<unsigned char>(last)) != 0) != (std::isdigit(u) != 0)))
      out.emplace_back();
    if (word) out.back() += c;
    last = c;
  }
  return out;
}

}  // namespace

const std::vector<BundledModel>& bundled_models() {
  static const auto models = [] {
    std::vector<BundledModel> out;
    for_each_row([&](const std::vector<std::string>& cells) {
      if (cells.size() < 2) return;
      BundledModel model{cells[1], {}, {}};
      for (std::size_t i = 2; i < cells.size(); ++i)
        if (cells[i].starts_with('='))
          model.recorded_as.push_back(cells[i].substr(1));
        else
          model.aliases.push_back(cells[i]);
      out.push_back(std::move(model));
    });
    return out;
  }();
  return models;
}

std::optional<BundledName> find_bundled(std::string_view spec) {
  static const auto names = read_names(false);
  return look_up(names, spec);
}

std::optional<BundledName> find_recorded(std::string_view spec) {
  static const auto names = read_names(true);
  return look_up(names, spec);
}

Model load_bundled_file(const std::string& stem) {
  const Entry entry = read_entry(stem);
  Model model = read_config_of(entry, stem, entry.json["config"], Producer::as_stated);
  model.name = entry.json.value("id", stem);
  return model;
}

Model load_bundled(const BundledName& name) {
  const Entry entry = read_entry(name.stem);
  Json config = entry.json["config"];
  std::string differs;
  for (const auto& variant : entry.json.value("variants", Json::array()))
    if (variant.value("id", "") == name.id) {
      config.merge_patch(variant.value("config", Json::object()));
      differs = fields_text(variant.value("config", Json::object()));
    }
  Model model = read_config_of(entry, name.stem, std::move(config), Producer::assumed);
  model.name = name.id;
  if (const std::string own = entry.json.value("id", name.stem); own != name.id) {
    model.stand_in = own;
    model.remarks.insert(model.remarks.begin(),
                         differs.empty() ? "planned with the bundled config.json of " + own +
                                               ", equal in all that a plan uses; tokenizer and chat template may differ"
                                         : "planned with the bundled config.json of " + own + " with " + differs +
                                               ", equal in all else that a plan uses; tokenizer and chat template may "
                                               "differ");
  }
  return model;
}

std::vector<std::string> bundled_names_like(std::string_view spec) {
  constexpr std::size_t kShown = 8;
  const auto wanted = words_of_name(spec);
  if (wanted.empty()) return {};
  std::vector<std::pair<std::size_t, std::string>> found;
  for_each_row([&](const std::vector<std::string>& cells) {
    for (std::size_t i = 1; i < cells.size(); ++i) {
      if (cells[i].starts_with('=') || !is_repository(cells[i])) continue;
      const auto words = words_of_name(std::string_view(cells[i]).substr(cells[i].find('/') + 1));
      if (std::search(words.begin(), words.end(), wanted.begin(), wanted.end()) != words.end())
        found.emplace_back(words.size() - wanted.size(), cells[i]);
    }
  });
  std::sort(found.begin(), found.end());
  std::vector<std::string> out;
  for (auto& [extra, name] : found)
    if (out.size() < kShown) out.push_back(std::move(name));
  return out;
}

}  // namespace shardwise
