#pragma once
// KV cache specs as recorded cases write them, to and from KvLayers.
#include <string>

#include "config/json_fwd.h"
#include "memory/kv_spec.h"

namespace shardwise {

std::string to_string(KvSpecType type);   ///< vLLM's class name, "FullAttentionSpec"
std::string to_string(KvDType dtype);     ///< "bfloat16"
std::string to_string(KvQuantMode mode);  ///< "FP8_PER_TENSOR"
std::string to_string(KvLayout layout);   ///< "LBNHC"
KvLayout parse_kv_layout(const std::string& text);

/// `stages`: per pipeline stage a list of specs, each with `layers` = {name pattern: "0-2,5"}.
KvLayers kv_layers_from_json(const Json& stages, const std::string& file);
/// The same form back: distinct specs of each stage in order of first appearance.
Json kv_stages_to_json(const KvLayers& layers);

}  // namespace shardwise
