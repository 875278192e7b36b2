#include "app/simulate_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/parallel_map.h"
#include "search/goal.h"
#include "serve/compiled_step_time.h"
#include "serve/simulation_config.h"
#include "sim/max_rate.h"

namespace shardwise {

namespace {

constexpr std::uint64_t kSeed = 1;
constexpr double kTolerance = 0.05;  // of a finalist's highest rate
constexpr double kKeepsUp = 0.9;     // of the rate at which a run that keeps up would end
// Further finalists: scores that the closed form may have wrong by that much.
constexpr std::size_t kCloseFinalists = 6;
constexpr double kClose = 0.8;
// Requests of a run: 10 x concurrency, as benchmarks send them.
constexpr std::int64_t kFewest = 200, kMost = 10'000;

struct Sustained {
  double requests = 0, tokens = 0;  ///< per second
  bool behind = false;              ///< the offered rate is more than is served
};

/// What a load keeps up, without the run's end, where fewer and fewer requests are left. Traces and sessions count as
/// they ran.
Sustained sustained(const Workload& w, const SimulationResult& r) {
  Sustained s{r.request_throughput, r.output_throughput, false};
  if (w.trace || w.turns > 1) {
    s.behind = w.request_rate && w.turns <= 1 && r.request_throughput < kKeepsUp * *w.request_rate;
  } else if (w.request_rate) {
    // A run that keeps up ends one request's time, its wait apart, after the last arrival.
    const double n = static_cast<double>(r.completed), own = std::max(0.0, r.e2e.mean - r.queue.mean);
    s.behind = r.request_throughput < kKeepsUp * n / (n / *w.request_rate + own);
    if (!s.behind) s.requests = *w.request_rate, s.tokens = s.requests * w.osl.mean();
  } else if (w.concurrency && r.e2e.mean > 0) {
    s.requests = *w.concurrency / r.e2e.mean, s.tokens = s.requests * w.osl.mean();
  }
  return s;
}

/// One replica alone carries its share of the load: replicas are equal and independent, and as many work as there are
/// requests. A trace is not split.
struct Share {
  int copies = 1, replicas = 1;
  Workload workload;
  double concurrency = 0;
};

Share share_of(const Workload& workload, const Plan& plan) {
  const int replicas = plan.layout.replicas;
  Share s{workload.trace ? 1 : std::min(replicas, workload.concurrency.value_or(replicas)), 1, workload, 0};
  auto& w = s.workload;
  if (w.trace) s.replicas = replicas;
  s.concurrency = plan.estimate.concurrency / s.copies;
  if (w.concurrency) *w.concurrency /= s.copies;
  if (w.request_rate) *w.request_rate /= s.copies;
  if (w.ramp_up) w.ramp_up->start_rps /= s.copies, w.ramp_up->end_rps /= s.copies;
  return s;
}

std::optional<std::int64_t> requests_of_run(const Share& s) {
  if (s.workload.trace) return std::nullopt;
  const double load = s.workload.concurrency ? *s.workload.concurrency : s.concurrency;
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(10 * load), kFewest,
                                  std::max(kMost, static_cast<std::int64_t>(3 * load)));
}

/// Means and percentiles of the run; intervals keep their relative width.
void set_estimate(Plan& plan, const Workload& workload, const SimulationResult& r, const Sustained& kept, int copies) {
  auto& e = plan.estimate;
  e.ttft_ms.mean = 1e3 * r.ttft.mean, e.tpot_ms.mean = 1e3 * r.tpot.mean, e.e2e_ms.mean = 1e3 * r.e2e.mean;
  e.ttft_p99_ms.mean = 1e3 * r.ttft.p99, e.tpot_p99_ms.mean = 1e3 * r.tpot.p99, e.e2e_p99_ms.mean = 1e3 * r.e2e.p99;
  e.output_tokens_per_second.mean = kept.tokens * copies;
  e.output_tokens_per_second_per_gpu.mean = kept.tokens * copies / plan.layout.gpus();
  e.slice.closed_form = false, e.slice.ttft_ms = e.ttft_ms.mean;
  set_intervals(e, workload.osl.mean());
  if (workload.request_rate && !kept.behind) {  // an open loop that keeps up delivers what is asked
    for (auto* t : {&e.output_tokens_per_second, &e.output_tokens_per_second_per_gpu})
      t->lo = 0.97 * t->mean, t->hi = 1.03 * t->mean;
  }
  e.requests_per_second = kept.requests * copies;
}

void judge(Plan& plan, const SimulationResult& r, const Sustained& kept) {
  plan.slos_missed.clear();
  if (kept.behind) plan.slos_missed.push_back("falls behind the request rate");
  for (const auto& slo : r.slos)
    if (!slo.met)
      plan.slos_missed.push_back(to_string(slo.slo) + ": simulated " +
                                 std::to_string(static_cast<long>(std::lround(1e3 * slo.value))) + " ms");
  plan.slos_kept = plan.slos_missed.empty();
}

bool has_load(const Workload& w) { return w.concurrency || w.request_rate || w.trace; }

}  // namespace

Plan simulated(const PlanRequest& request, const SearchRequest& search, Plan plan, bool find_max_rate) {
  const Share share = share_of(request.workload, plan);
  auto config = simulation_config({*request.model, plan.engine, plan.memory, *plan.step, share.replicas},
                                  request.pinned, share.workload);
  config.num_requests = requests_of_run(share);
  const CompiledStepTime time(plan.step);
  const Workload workload = simulated_workload(share.workload, share.concurrency);
  const auto r = simulate(config, workload, time, kSeed);
  const auto kept = sustained(workload, r);
  set_estimate(plan, workload, r, kept, share.copies);
  if (!workload.slos.empty()) plan.request_goodput = r.request_goodput * share.copies;
  if (find_max_rate && !has_load(request.workload) && !workload.slos.empty()) {
    config.num_requests.reset();
    const auto best =
        max_rate_under_slo(config, workload, time, kSeed, std::max(0.01, r.request_throughput), kTolerance);
    plan.max_request_rate = best.request_rate * share.copies;
  }
  plan.simulated = true;
  plan.score = goal_score(search, plan.layout, plan.estimate, budget_gpus(search));
  judge(plan, r, kept);
  auto& reason = plan.estimate.band_reason;
  reason += reason.empty() ? "simulated" : "; simulated";
  if (plan.engine.num_speculative_tokens > 0)
    reason += fmt::format(", each draft token accepted with a chance of {:.0f} %", 100 * config.acceptance_rate);
  return plan;
}

bool worth_simulating(const SearchResult& result) {
  const auto n = std::min<std::size_t>(result.plans.size(), 10);
  return std::all_of(result.plans.begin(), result.plans.begin() + static_cast<std::ptrdiff_t>(n), [](const Plan& p) {
    return 10 * p.estimate.concurrency / p.layout.replicas <= static_cast<double>(kMost);
  });
}

void decide_by_simulation(const PlanRequest& request, const SearchRequest& search, SearchResult& result, int count) {
  // Finalists: the best plans, then the nearest misses: the closed form may be too strict about a percentile.
  std::vector<Plan> finalists;
  auto most = static_cast<std::size_t>(std::max(0, count));
  if (most > 0 && !result.plans.empty())
    while (most < result.plans.size() && most < static_cast<std::size_t>(count) + kCloseFinalists &&
           result.plans[most].score > kClose * result.plans.front().score)
      ++most;
  const auto take = [&](std::vector<Plan>& from) {
    const auto n = std::min(from.size(), most - finalists.size());
    finalists.insert(finalists.end(), std::make_move_iterator(from.begin()),
                     std::make_move_iterator(from.begin() + static_cast<std::ptrdiff_t>(n)));
    from.erase(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(n));
  };
  take(result.plans);
  take(result.near_misses);
  parallel_for(finalists.size(), request.threads,
               [&](std::size_t i) { finalists[i] = simulated(request, search, std::move(finalists[i]), true); });
  const auto kept =
      std::stable_partition(finalists.begin(), finalists.end(), [](const Plan& p) { return p.slos_kept; });
  std::sort(finalists.begin(), kept,
            [&](const Plan& a, const Plan& b) { return better_plan(a, b, search.fewest_gpus); });
  // Misses that were not simulated go: of them the closed form alone says that they miss.
  result.near_misses.assign(std::make_move_iterator(kept), std::make_move_iterator(finalists.end()));
  finalists.erase(kept, finalists.end());
  // Plans that were not simulated follow: their closed-form scores are not comparable with simulated ones.
  finalists.insert(finalists.end(), std::make_move_iterator(result.plans.begin()),
                   std::make_move_iterator(result.plans.end()));
  result.plans = std::move(finalists);
}

}  // namespace shardwise
