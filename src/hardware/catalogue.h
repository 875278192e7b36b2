#pragma once
// Names in the GPU and link catalogues; users include hardware.h.
#include <string>
#include <string_view>

#include "hardware/hardware.h"

namespace shardwise {

/// Name as compared: lower case, without separators, makers and words that tell no GPUs apart; the form (SXM5 is SXM)
/// and the memory (80GB is 80G) stand last. "NVIDIA H100 80GB HBM3" is "h10080g", "H100-80GB-SXM5" "h100sxm80g".
std::string plain_name(std::string_view name);
/// Catalogue row or nullptr.
const Gpu* find_gpu_or_null(std::string_view name);
/// What to say to someone who wrote a name that no GPU has.
std::string gpu_hint(std::string_view name);
/// How a GPU is written in a cluster string: its first alias ("H100" for "H100-SXM"), else its name.
std::string cluster_name_of_gpu(const std::string& name);

}  // namespace shardwise
