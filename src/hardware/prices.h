#pragma once
#include <string>
#include <string_view>

#include "hardware/hardware.h"

namespace shardwise {

/// "2.5" (USD per GPU-hour of all), or "H100=2.5,H200=3.4". GPUs that the cluster has not are no error.
void set_prices(Cluster& cluster, std::string_view text, const std::string& flag);

}  // namespace shardwise
