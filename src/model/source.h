#pragma once
// The files a model was read from, parsed. Internal to the model layer: everybody else asks the typed Model.
#include <memory>
#include <string>
#include <string_view>

#include "config/json.h"
#include "model/model.h"

namespace shardwise {

struct ModelSource {
  Json config;
  Json hf_quant_config;  ///< null if there is no such file
};

/// The language part of a config and its path inside. vLLM and transformers look under these names.
std::pair<const Json*, std::string> text_part(const Json& config);

/// The quantisation that the checkpoint states, in config.json or beside it; null if none.
const Json* stated_quantisation(const ModelSource& source);

/// Gives an hf_quant_config.json that states ModelOpt's algorithm alone the method that vLLM derives from the producer;
/// true if it needed that.
bool name_modelopt(ModelSource& source);
inline constexpr const char* kProducerRemark =
    "hf_quant_config.json names no producer: taken for ModelOpt's; without it vLLM would take the weights for "
    "unquantised";

/// `text` is config.json's, to find lines in errors.
Model read_source(ModelSource source, std::string_view text, const std::string& file);

/// model.quantisation as `stated` says; null = not quantised.
void read_quantisation(const Json* stated, const Json& text_config, Model& model);

}  // namespace shardwise
