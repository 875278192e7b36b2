#pragma once
// The models that recorded cases name.
#include <compare>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "model/model.h"
#include "parallel/model_facts.h"

namespace shardwise {

/// Models by the name that a case uses: those of a folder first, then the bundle. Thread-safe; each is read once.
class VerifyModels {
 public:
  /// `dir`: holds NAME/config.json, where NAME is the model's or, of a hub id, "org--name".
  explicit VerifyModels(std::optional<std::string> dir = {}) : dir_(std::move(dir)) {}
  std::shared_ptr<const Model> get(const std::string& name);  ///< throws InputError if it cannot be found or read
  /// Facts of a model under --hf-overrides (JSON text); compiled once a version.
  std::shared_ptr<const ModelFacts> facts(const std::string& name, VllmVersion version,
                                          const std::string& hf_overrides = "");

 private:
  struct Key {
    std::string name, hf_overrides;
    VllmVersion version;
    auto operator<=>(const Key&) const = default;
  };
  ModelFacts read_facts(const Key& key);

  std::optional<std::string> dir_;
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<const Model>> models_;
  std::map<Key, std::shared_ptr<const ModelFacts>> facts_;
};

}  // namespace shardwise
