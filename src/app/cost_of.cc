#include "app/cost_of.h"

#include <algorithm>

#include "search/node_groups.h"

namespace shardwise {

Cost cost_of(const Cluster& cluster, const std::vector<int>& gpus_taken, const Plan& plan, const Workload& workload) {
  constexpr double kHoursPerMonth = 730, kSecondsPerHour = 3600, kSlowest = 1e-9;
  auto groups = node_groups(cluster, gpus_taken);
  std::erase_if(groups, [](const NodeGroup& g) { return g.total() == 0; });
  const auto& price = groups[static_cast<std::size_t>(plan.layout.group)].cluster.nodes.front().price_per_gpu_hour;
  Cost cost;
  cost.usd = price.has_value();
  cost.per_hour = plan.layout.gpus() * (price ? price->value : 1.0);
  cost.per_month = cost.per_hour * kHoursPerMonth;
  const double output = std::max(kSlowest, plan.estimate.output_tokens_per_second.mean);
  cost.per_million_output_tokens = cost.per_hour * 1e6 / (output * kSecondsPerHour);
  const double answers = workload.osl.mean(), all = workload.isl.mean() + answers;
  cost.per_million_total_tokens = cost.per_million_output_tokens * answers / all;
  return cost;
}

}  // namespace shardwise
