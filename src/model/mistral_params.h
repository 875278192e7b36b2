#pragma once
// Mistral's own format of a model's sizes, params.json, which vLLM reads where consolidated*.safetensors lie beside it.
#include <string>
#include <string_view>

#include "model/model.h"

namespace shardwise {

/// Reads a params.json as vLLM's transformers_utils/configs/mistral.py turns it into a configuration. `file` names it
/// in errors. InputError where vLLM's own assertions fail, too.
Model read_mistral_params(std::string_view text, const std::string& file);

}  // namespace shardwise
