#pragma once
// From what a user writes to a Model.
#include <string>
#include <string_view>
#include <vector>

#include "config/text_source.h"
#include "model/model.h"

namespace shardwise {

/// What an hf_quant_config.json that states an algorithm but no producer (or no method) is taken for. vLLM takes it for
/// nothing, so that such weights would not load; files lose the producer where they are collected.
enum class Producer { as_stated, assumed };

/// Reads a config.json (and, if not empty, the hf_quant_config.json beside it). `file` names it in errors.
/// Unknown architectures are planned from their fields (Model::generic). Throws InputError naming the missing field.
Model read_hf_config(std::string_view config_text, std::string_view hf_quant_config_text, const std::string& file,
                     Producer producer = Producer::as_stated);

/// The model that results when `overrides` (vLLM's --hf-overrides, a JSON object) replace fields of its config.json;
/// objects merge, null takes a field away. A model made by hand stays as it is.
Model with_overrides(const Model& model, const std::string& overrides);

/// MODEL as on the command line: a config.json, params.json or directory with one of them, a folder or snapshot of the
/// hub's cache; a hub id that the local cache holds; a bundled name; else the hub (HF_ENDPOINT, HF_TOKEN,
/// HF_HUB_OFFLINE honoured by `hub`, null = no hub). The model's name is what `vllm serve` is given: an id or a
/// directory.
Model load_model(const std::string& spec, TextSource& disk, TextSource* hub = nullptr);

/// The model that a recording or a measurement names `spec`: a directory, or any name of a bundled file, whose own
/// config is then taken.
Model load_recorded_model(const std::string& spec, TextSource& disk);

/// Every bundled model: name, hub ids and aliases.
struct BundledModel {
  std::string name;
  std::vector<std::string> aliases;
  std::vector<std::string> recorded_as;  ///< what recordings and measurements call it
};
const std::vector<BundledModel>& bundled_models();

}  // namespace shardwise
