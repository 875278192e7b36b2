#pragma once
// Names in the GPU and link catalogues; users include hardware.h.
#include <string>
#include <string_view>

#include "hardware/hardware.h"

namespace shardwise {

/// Name as compared: lower case, without spaces, '-', '_', brand words, and with "80gb" as "80g".
std::string plain_name(std::string_view name);
/// Catalogue row or nullptr.
const Gpu* find_gpu_or_null(std::string_view name);
/// What to say to someone who wrote a name that no GPU has.
std::string gpu_hint(std::string_view name);
/// How a GPU is written in a cluster string: its first alias ("H100" for "H100-SXM"), else its name.
std::string cluster_name_of_gpu(const std::string& name);

}  // namespace shardwise
