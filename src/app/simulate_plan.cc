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
// Where nobody says how many, shapes beyond the first few that the closed form has far behind are not among them.
constexpr std::size_t kFew = 5;
constexpr double kFar = 0.5;
// Requests of a run as benchmarks send them, all counted.
constexpr double kBenchmark = 10;  // x concurrency
constexpr std::int64_t kFewest = 200, kMost = 10'000;
constexpr std::int64_t kFewestEqual = 48;  // of one length, in a closed loop
// Requests counted of a steady run; behind a percentile must lie enough of them.
constexpr double kSteady = 3;  // x concurrency
constexpr double kBehindPercentile = 10;
constexpr std::int64_t kFewestPipeline = 800;
constexpr double kPipelineSteady = 2;  // x kSteady
// Closed-form answers alone beyond so many in flight a replica.
constexpr double kMostInFlight = 20'000;

struct Sustained {
  double requests = 0, tokens = 0;  ///< per second
  bool behind = false;              ///< the offered rate is more than is served
};

/// What a load keeps up, without the run's end, where fewer and fewer requests are left. Traces, sessions and
/// benchmarks count as they ran.
Sustained sustained(const Workload& w, const SimulationResult& r) {
  Sustained s{r.request_throughput, r.output_throughput, false};
  if (w.trace || w.turns > 1 || (w.as_benchmark && !w.request_rate)) {
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

double in_flight(const Share& s) { return s.workload.concurrency ? *s.workload.concurrency : s.concurrency; }

/// Requests without which a mean, or the percentile of an SLO, says nothing.
std::int64_t fewest(const Workload& w) {
  const auto constant = LengthDistribution::Kind::constant;
  const bool equal = !w.request_rate && w.isl.kind == constant && w.osl.kind == constant;
  std::int64_t n = equal ? kFewestEqual : kFewest;
  for (const auto& slo : w.slos) {
    const double above = slo.stat == SloStat::p99 ? 0.01 : slo.stat == SloStat::p95 ? 0.05 : 0.1;
    n = std::max(n, static_cast<std::int64_t>(std::llround(kBehindPercentile / above)));
  }
  return n;
}

/// All requests of a trace, of sessions and of a benchmark count. Else the opening is left out: users start one after
/// the other over one request's time, or as they come, and the first of each, and those after the last counted one,
/// are load only.
/// Who shares a batch with whom in a pipeline changes slowly: more of it is counted.
void set_length(SimulationConfig& c, const Share& s, const Interval& e2e_ms) {
  const auto& w = s.workload;
  if (w.trace) return;
  const auto load = static_cast<std::int64_t>(std::lround(std::max(1.0, in_flight(s))));
  if (w.as_benchmark || w.turns > 1) {
    c.num_requests = std::clamp<std::int64_t>(static_cast<std::int64_t>(kBenchmark * in_flight(s)), kFewest,
                                              std::max(kMost, 3 * load));
    return;
  }
  const bool open = w.request_rate.has_value();
  if (!open) c.start_spread = Seconds(e2e_ms.mean / 1e3);
  c.warmup_requests = open ? 2 * load : load;
  c.cooldown_requests = load;
  c.measure_gaps = false;
  const bool pipeline = c.scheduler.pipeline_parallel_size > 1;
  const double steady = kSteady * (pipeline ? kPipelineSteady : 1) * static_cast<double>(load);
  const auto counted = std::max({fewest(w), pipeline ? kFewestPipeline : 0, static_cast<std::int64_t>(steady)});
  c.num_requests = c.warmup_requests + counted + c.cooldown_requests;
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
  plan.slos = r.slos;
  if (kept.behind) plan.slos_missed.push_back("falls behind the request rate");
  for (const auto& slo : r.slos)
    if (!slo.met) plan.slos_missed.push_back(to_string(slo.slo) + ": simulated " + value_text(slo));
  plan.slos_kept = plan.slos_missed.empty();
}

bool has_load(const Workload& w) { return w.concurrency || w.request_rate || w.trace; }

}  // namespace

Plan simulated(const PlanRequest& request, const SearchRequest& search, Plan plan, bool find_max_rate) {
  const Share share = share_of(request.workload, plan);
  auto config = simulation_config({*request.model, plan.engine, plan.memory, *plan.step, share.replicas},
                                  request.pinned, share.workload);
  set_length(config, share, plan.estimate.e2e_ms);
  const CompiledStepTime time(plan.step);
  const Workload workload = simulated_workload(share.workload, share.concurrency);
  const auto r = simulate(config, workload, time, kSeed);
  const auto kept = sustained(workload, r);
  set_estimate(plan, workload, r, kept, share.copies);
  if (!workload.slos.empty()) plan.request_goodput = r.request_goodput * share.copies;
  plan.simulated = true;
  plan.score = goal_score(search, plan.layout, plan.estimate, budget_gpus(search));
  judge(plan, r, kept);
  if (find_max_rate && plan.slos_kept && !has_load(request.workload) && !workload.slos.empty()) {
    config.num_requests.reset();
    config.warmup_requests = config.cooldown_requests = 0, config.start_spread = Seconds(0);
    const auto best =
        max_rate_under_slo(config, workload, time, kSeed, std::max(0.01, r.request_throughput), kTolerance);
    if (best.request_rate) plan.max_request_rate = *best.request_rate * share.copies;
  }
  auto& reason = plan.estimate.band_reason;
  reason += reason.empty() ? "simulated" : "; simulated";
  if (plan.engine.num_speculative_tokens > 0)
    reason += fmt::format(", each draft token accepted with a chance of {:.0f} %", 100 * config.acceptance_rate);
  return plan;
}

bool worth_simulating(const Plan& plan) { return plan.estimate.concurrency / plan.layout.replicas <= kMostInFlight; }

/// Takes the best plans of `count` shapes, other numbers of copies of them where the closed form has those close to the
/// best, then the nearest misses: the closed form may be too strict about a percentile.
std::vector<Plan> finalists_of(SearchResult& result, std::size_t count, bool far_too) {
  std::vector<Plan> taken;
  std::size_t shapes = 0;
  const double best = result.plans.empty() ? 0 : result.plans.front().score;
  for (auto& p : result.plans) {
    const bool known =
        std::any_of(taken.begin(), taken.end(), [&](const Plan& t) { return same_but_copies(t.layout, p.layout); });
    const bool late = shapes >= count || (!far_too && shapes >= kFew && p.score < kFar * best);
    if ((known || late) && !(p.score > kClose * best && taken.size() < count + kCloseFinalists)) continue;
    shapes += !known;
    taken.push_back(std::move(p));
  }
  for (auto& p : result.near_misses)
    if (taken.size() < count) taken.push_back(std::move(p));
  std::erase_if(result.plans, [](const Plan& p) { return !p.step; });
  return taken;
}

/// No finalist keeps the limits: more copies of one may, though they are worth less a GPU.
std::vector<Plan> look_further(const PlanRequest& request, const SearchRequest& search, std::vector<Plan> rest) {
  constexpr std::size_t kTried = 16, kEnough = 2;
  std::vector<Plan> kept;
  for (std::size_t i = 0; i < std::min(kTried, rest.size()) && kept.size() < kEnough; ++i)
    if (auto p = simulated(request, search, std::move(rest[i]), true); p.slos_kept) kept.push_back(std::move(p));
  return kept;
}

void decide_by_simulation(const PlanRequest& request, const SearchRequest& search, SearchResult& result,
                          std::size_t count) {
  auto finalists = finalists_of(result, count, request.simulate_finalists.has_value());
  parallel_for(finalists.size(), request.threads,
               [&](std::size_t i) { finalists[i] = simulated(request, search, std::move(finalists[i]), true); });
  const auto kept =
      std::stable_partition(finalists.begin(), finalists.end(), [](const Plan& p) { return p.slos_kept; });
  // Misses that were not simulated go: of them the closed form alone says that they miss.
  result.near_misses.assign(std::make_move_iterator(kept), std::make_move_iterator(finalists.end()));
  finalists.erase(kept, finalists.end());
  if (finalists.empty()) finalists = look_further(request, search, std::move(result.plans));
  std::ranges::sort(finalists, [&](const Plan& a, const Plan& b) { return better_plan(a, b, search.fewest_gpus); });
  result.standing = std::max(result.standing, finalists.size());
  // So do plans that were not: their closed-form scores are not comparable with simulated ones.
  result.plans = std::move(finalists);
}

}  // namespace shardwise
