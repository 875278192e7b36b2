#pragma once
// The same question on several offers of GPUs, the best plan of each side by side.
#include "app/cost_of.h"

namespace shardwise {

struct Offer {
  PlanRequest request;
  std::optional<Plan> plan;  ///< the best; nullopt: none stands
  std::optional<Cost> cost;
  std::string why_not;
  std::vector<std::string> warnings;
};

struct CompareAnswer {
  PlanRequest request;  ///< of the first offer
  std::vector<Offer> offers;
  /// Indices into `offers`, of those with a plan: by the goal (for cost: the cheapest), and by single figures.
  /// Cheapest a token only where all have a price, or none has.
  std::optional<std::size_t> best, cheapest, most_tokens, lowest_tpot;
};

/// Requests that differ in their clusters alone; at least one.
CompareAnswer compare(const std::vector<PlanRequest>& requests);

}  // namespace shardwise
