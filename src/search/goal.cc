// What "better" means: the goal's score, the SLOs, ties.
#include "search/goal.h"

#include <fmt/format.h>

#include <cmath>
#include <tuple>

namespace shardwise {

double goal_score(const SearchRequest& request, const Layout& layout, const ServingEstimate& e, int budget) {
  const double total = e.output_tokens_per_second.mean;
  switch (request.goal) {
    case Goal::throughput:
      return total;
    case Goal::latency:
      return e.e2e_ms.mean > 0 ? 1e3 / e.e2e_ms.mean : 0;
    case Goal::cost:
      return total / hourly_price(request, layout);
    case Goal::balanced: {
      // Tokens/s per GPU times tokens/s per user. Under a given load only the GPUs in use count; without one the load
      // grows with the cluster, so that GPUs left idle count as well. A user who waits in a queue gets his tokens
      // later: the wait is spread over them.
      const bool load_given = request.workload.concurrency || request.workload.request_rate || request.workload.trace;
      const double ms_per_token = e.tpot_ms.mean + e.queue_ms / std::max(1.0, request.workload.osl.mean());
      return total / (load_given ? layout.gpus() : budget) * (ms_per_token > 0 ? 1e3 / ms_per_token : 0);
    }
  }
  return 0;
}

double hourly_price(const SearchRequest& request, const Layout& layout) {
  const auto& node = request.groups[static_cast<std::size_t>(layout.group)].cluster.nodes.front();
  return layout.gpus() * (node.price_per_gpu_hour ? node.price_per_gpu_hour->value : 1.0);
}

double slo_excess(const std::vector<Slo>& slos, const ServingEstimate& e, std::vector<std::string>* missed) {
  double worst = 0;
  for (const auto& slo : slos) {
    const double value = e.quantile_ms(slo.metric, slo.stat), limit = to_ms(slo.limit);
    if (!(value > limit)) continue;
    worst = std::max(worst, value / limit - 1);
    if (missed) missed->push_back(fmt::format("{}: predicted {:.0f} ms", to_string(slo), value));
  }
  return worst;
}

bool better(const RankKey& a, const RankKey& b) {
  // Scores within 0.2 % are equal; the bucket makes that transitive.
  const auto bucket = [](double score) { return score > 0 ? std::floor(std::log(score) / 0.002 + 1e-6) : -1e9; };
  return std::make_tuple(a.fewest_gpus ? a.gpus : 0, -bucket(a.worth), a.gpus, a.complexity) <
         std::make_tuple(b.fewest_gpus ? b.gpus : 0, -bucket(b.worth), b.gpus, b.complexity);
}

double worth(const Plan& plan) { return plan.score * plan.memory.probability_fits; }

bool better_plan(const Plan& a, const Plan& b, bool fewest_gpus) {
  const RankKey ka{worth(a), a.layout.gpus(), complexity(a.layout), fewest_gpus};
  const RankKey kb{worth(b), b.layout.gpus(), complexity(b.layout), fewest_gpus};
  if (better(ka, kb)) return true;
  if (better(kb, ka)) return false;
  return to_string(a.layout) < to_string(b.layout);
}

}  // namespace shardwise
