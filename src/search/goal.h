#pragma once
// What "better" means, shared by the search and the one-layout evaluation.
#include "search/search.h"

namespace shardwise {

struct RankKey {
  double worth = 0;  ///< score times the probability that it starts
  int gpus = 0;
  int complexity = 0;
  bool fewest_gpus = false;
};
/// Strict order by score bucket, GPUs, complexity; equal keys are ordered by canonical text.
bool better(const RankKey& a, const RankKey& b);

/// Price of the layout per hour in dollars; GPUs (so GPU-hours per hour) where no price is known.
double hourly_price(const SearchRequest& request, const Layout& layout);

/// How far the worst SLO is missed, as a share of its limit; 0 = all kept. `missed` gets each missed one in words.
double slo_excess(const std::vector<Slo>& slos, const ServingEstimate& estimate,
                  std::vector<std::string>* missed = nullptr);

}  // namespace shardwise
