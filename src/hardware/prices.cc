#include "hardware/prices.h"

#include "base/input_error.h"
#include "base/text.h"
#include "config/ranges.h"
#include "hardware/catalogue.h"

namespace shardwise {
namespace {

Dollars price_of(std::string_view text, const std::string& flag) {
  double value = 0;
  if (parse_number(text, value)) {
    if (value > 0 && value <= ranges::price_per_hour.most.value) return Dollars(value);
    throw InputError(flag, 0, "", "'" + std::string(text.substr(0, 40)) + "' is no price",
                     "USD per GPU-hour, as in 2.5");
  }
  return parse_price_per_hour(text, {flag, 0, ""}, ranges::price_per_hour);
}

}  // namespace

void set_prices(Cluster& cluster, std::string_view text, const std::string& flag) {
  for (const auto& part : split(text, ',')) {
    const auto at = part.find('=');
    const auto price = price_of(trim(at == std::string::npos ? part : std::string_view(part).substr(at + 1)), flag);
    std::string kind;
    if (at != std::string::npos) {
      kind = trim(std::string_view(part).substr(0, at));
      if (!cluster.gpus.contains(kind)) {
        const Gpu* gpu = find_gpu_or_null(kind);
        if (!gpu) throw InputError(flag, 0, "", "unknown GPU '" + kind.substr(0, 60) + "'", gpu_hint(kind));
        kind = gpu->name;
      }
    }
    for (Node& node : cluster.nodes)
      if (kind.empty() || node.gpu == kind) node.price_per_gpu_hour = price;
  }
}

}  // namespace shardwise
