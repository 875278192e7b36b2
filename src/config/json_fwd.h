#pragma once
#include <nlohmann/json_fwd.hpp>
namespace shardwise {
using Json = nlohmann::ordered_json;  ///< keys keep the order of the text, so what is written reads like what was read
}
