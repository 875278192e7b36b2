#pragma once
// Files of a model repository: the local Hugging Face cache, and the hub over HTTP.
#include <optional>
#include <string>

#include "config/text_source.h"

namespace shardwise {

/// Where the local Hugging Face cache lies: HF_HUB_CACHE, else HF_HOME/hub, else ~/.cache/huggingface/hub; "" without a
/// home.
std::string hf_cache_dir();

/// Folder of the snapshot that the cache holds of `repo` ("org/name"): refs/main, else the first by name; nullopt if
/// none.
std::optional<std::string> hf_cached_snapshot(const std::string& cache_dir, const std::string& repo, TextSource& disk);

/// The same for a folder of the cache itself (".../models--org--name"); nullopt if `folder` has no snapshots.
std::optional<std::string> hf_snapshot_in(const std::string& folder, TextSource& disk);

struct HubOptions {
  std::string endpoint = "https://huggingface.co";
  std::string token;     ///< "" = none
  bool offline = false;  ///< HF_HUB_OFFLINE: never ask the network
  long timeout_seconds = 20;
};

/// HF_ENDPOINT, HF_TOKEN (or HUGGING_FACE_HUB_TOKEN), HF_HUB_OFFLINE.
HubOptions hub_options_from_environment();

/// Reads "org/name/config.json" from ENDPOINT/org/name/resolve/main/config.json. A file or repository that does not
/// exist is nullopt; a gated repository, no network, or offline mode is an InputError that says what to do.
class HubSource : public TextSource {
 public:
  explicit HubSource(HubOptions options) : options_(std::move(options)) {}
  std::optional<std::string> read(const std::string& name) override;

 private:
  HubOptions options_;
};

}  // namespace shardwise
