#include "verify/models.h"

#include "config/json.h"
#include "config/text_source.h"
#include "model/load.h"

namespace shardwise {
namespace {

/// A config without its "quantized_layers": tens of thousands of names that no rule asks for, and that an object which
/// keeps the order of its keys takes long to hold.
Json read_config(std::string_view text, const std::string& file) {
  auto wanted = [](int, Json::parse_event_t event, Json& parsed) {
    return event != Json::parse_event_t::key || parsed != "quantized_layers";
  };
  Json config = Json::parse(text.begin(), text.end(), wanted, false);
  return config.is_discarded() ? parse_python_json(text, file) : config;
}

/// "org--name" for a hub id.
std::string folder_of(std::string name) {
  if (const auto slash = name.find('/'); slash != std::string::npos) name.replace(slash, 1, "--");
  return name;
}

}  // namespace

std::shared_ptr<const Model> VerifyModels::get(const std::string& name) {
  std::lock_guard lock(mutex_);
  auto& slot = models_[name];
  if (!slot) {
    DiskSource disk;
    std::string found = name;
    if (dir_)
      for (const auto& at : {*dir_ + "/" + name, *dir_ + "/" + folder_of(name)})
        if (disk.read(at + "/config.json")) found = at;
    slot = std::make_shared<const Model>(load_recorded_model(found, disk));
  }
  return slot;
}

ModelFacts VerifyModels::read_facts(const Key& key) {
  DiskSource disk;
  const std::string dir = dir_ ? *dir_ + "/" + key.name : "";
  if (const auto text = dir_ ? disk.read(dir + "/config.json") : std::nullopt) {
    Json config = read_config(*text, dir + "/config.json");
    if (!key.hf_overrides.empty()) config = with_hf_overrides(config, key.hf_overrides, "input.args");
    const auto quant = disk.read(dir + "/hf_quant_config.json");
    const Json quant_config = quant ? read_config(*quant, dir + "/hf_quant_config.json") : Json();
    return model_facts(config_facts(config, quant ? &quant_config : nullptr), key.name, key.version);
  }
  const auto model = get(key.name);
  return model_facts(config_facts(*model, key.hf_overrides), model->name, key.version);
}

std::shared_ptr<const ModelFacts> VerifyModels::facts(const std::string& name, VllmVersion version,
                                                      const std::string& hf_overrides) {
  const Key key{name, hf_overrides, version};
  {
    std::lock_guard lock(mutex_);
    if (const auto it = facts_.find(key); it != facts_.end()) return it->second;
  }
  auto facts = std::make_shared<const ModelFacts>(read_facts(key));
  std::lock_guard lock(mutex_);
  return facts_.try_emplace(key, std::move(facts)).first->second;
}

}  // namespace shardwise
