#pragma once
// From what a user writes to a Model.
#include <string>
#include <string_view>
#include <vector>

#include "config/text_source.h"
#include "model/model.h"

namespace shardwise {

/// Reads a config.json (and, if not empty, the hf_quant_config.json beside it). `file` names it in errors.
/// Unknown architectures are planned from their fields (Model::generic). Throws InputError naming the missing field.
Model read_hf_config(std::string_view config_text, std::string_view hf_quant_config_text, const std::string& file);

/// The model that results when `overrides` (vLLM's --hf-overrides, a JSON object) replace fields of its config.json;
/// objects merge, null takes a field away. A model made by hand stays as it is.
Model with_overrides(const Model& model, const std::string& overrides);

/// MODEL as on the command line: bundled name, alias or hub id known to the bundle; a directory with config.json; a
/// config.json; the local HF cache; else the hub (HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE honoured by `hub`, null = no
/// hub).
Model load_model(const std::string& spec, TextSource& disk, TextSource* hub = nullptr);

/// Every bundled model: name, hub ids and aliases.
struct BundledModel {
  std::string name;
  std::vector<std::string> aliases;
};
const std::vector<BundledModel>& bundled_models();

}  // namespace shardwise
