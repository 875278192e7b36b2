#include "app/compare.h"

#include <algorithm>
#include <functional>

#include "app/plan.h"
#include "base/input_error.h"

namespace shardwise {
namespace {

Offer offer_of(PlanRequest request) {
  request.explain = false;
  Offer offer{request, std::nullopt, std::nullopt, "", {}};
  try {
    auto answer = make_plan(request);
    offer.warnings = std::move(answer.warnings);
    offer.why_not = std::move(answer.no_reason);
    offer.request = std::move(answer.request);  // as it was understood
    if (!answer.found()) return offer;
    offer.plan = std::move(answer.search.plans.front());
    offer.cost = cost_of(request.cluster, request.gpus_taken, *offer.plan, request.workload);
  } catch (const InputError& e) {
    offer.why_not = e.message;  // of this offer: vLLM refuses on such GPUs, or they are too few
  }
  return offer;
}

std::optional<std::size_t> least(const std::vector<Offer>& offers, const std::function<double(const Offer&)>& value) {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < offers.size(); ++i)
    if (offers[i].plan && (!best || value(offers[i]) < value(offers[*best]))) best = i;
  return best;
}

}  // namespace

CompareAnswer compare(const std::vector<PlanRequest>& requests) {
  CompareAnswer answer{requests.front(), {}, {}, {}, {}, {}};
  for (const auto& request : requests) answer.offers.push_back(offer_of(request));
  const auto& offers = answer.offers;
  const auto priced = std::ranges::count_if(offers, [](const Offer& o) { return o.cost && o.cost->usd; });
  const auto standing = std::ranges::count_if(offers, [](const Offer& o) { return o.plan.has_value(); });
  if (priced == 0 || priced == standing)
    answer.cheapest = least(offers, [](const Offer& o) { return o.cost->per_million_output_tokens; });
  answer.most_tokens = least(offers, [](const Offer& o) { return -o.plan->estimate.output_tokens_per_second.mean; });
  answer.best = requests.front().goal == Goal::cost ? answer.cheapest
                                                    : least(offers, [](const Offer& o) { return -worth(*o.plan); });
  if (standing > 0 && requests.front().workload.osl.max() > 1)
    answer.lowest_tpot = least(offers, [](const Offer& o) { return o.plan->estimate.tpot_ms.mean; });
  return answer;
}

}  // namespace shardwise
