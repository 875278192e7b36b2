// When no plan stands: what is missing, by how much, and the changes, one at a time, that would make one stand.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "app/explain.h"
#include "app/nearest_changes.h"
#include "app/plan.h"
#include "app/simulate_plan.h"
#include "base/text.h"
#include "config/quantity.h"
#include "memory/memory_planner.h"

namespace shardwise {
namespace {

/// `times` as many nodes with copies of `best` on them, judged as `plan` judges; nullopt if they do not do.
std::optional<Change> on_more_nodes(const PlanRequest& request, const Plan& best, int times) {
  PlanRequest larger = request;
  larger.cluster = with_nodes(request.cluster, static_cast<int>(request.cluster.nodes.size()) * times);
  larger.gpus_taken.clear();
  const auto s = search_request(larger, nullptr);
  if (s.pins.contains("replicas") || s.pins.contains("data_parallel_size")) return std::nullopt;
  Layout copies = best.layout;
  (request.model->is_moe() ? copies.replicas : copies.parallel.data_parallel_size) *= times;
  auto plan = evaluate_layout(s, copies, nullptr);
  if (!plan) return std::nullopt;
  if (request.simulate_finalists != std::size_t{0} && worth_simulating(*plan))
    plan = simulated(larger, s, *std::move(plan), false);
  if (!plan->slos_kept) return std::nullopt;
  Change change;
  change.what = larger.cluster.name;
  change.fits = true;
  change.note = fmt::format("{} times the nodes for the whole rate: {}{}", times, plan_words(*plan),
                            plan->simulated ? "" : " (closed form)");
  change.plan = std::move(plan);
  return change;
}

/// Nodes for the whole request rate: copies of `best`, which serves `rate` requests/s on what is there.
std::optional<Change> whole_rate(const PlanRequest& request, const Plan& best, double rate) {
  constexpr int kMostNodes = 4096, kTried = 4;
  if (request.max_gpus || !request.cluster.homogeneous()) return std::nullopt;
  const int most = kMostNodes / static_cast<int>(request.cluster.nodes.size());
  auto times = static_cast<int>(std::ceil(*request.workload.request_rate / (0.9 * rate)));
  if (times < 2) return std::nullopt;
  for (int tried = 0; tried < kTried && times <= most; ++tried, times += std::max(1, times / 8))
    if (auto change = on_more_nodes(request, best, times)) return change;
  return std::nullopt;
}

/// The rate that the best plan keeps up, and the nodes for the whole of it.
void lower_rate(PlanAnswer& answer) {
  PlanRequest best = answer.request;
  best.workload.request_rate.reset();
  best.workload.concurrency.reset();
  best.goal = Goal::throughput;
  best.explain = false;
  auto s = search_request(best, nullptr);
  const auto found = search(s);
  if (found.plans.empty()) return;
  const auto& p = found.plans.front();
  const double rate = p.estimate.output_tokens_per_second.mean / best.workload.osl.mean();
  for (const double part : {0.9, 0.8, 0.65, 0.5, 0.3, 0.15}) {
    const auto text = fmt::format("{:.3g}", part * rate);
    double asked = 0;
    if (!parse_number(text, asked)) return;
    const auto change = try_change(answer, "--rate " + text, [&](PlanRequest& r) { r.workload.request_rate = asked; });
    if (!change || !change->fits) continue;
    answer.nearest.push_back(*change);
    break;
  }
  if (auto more = whole_rate(answer.request, p, rate)) answer.nearest.push_back(std::move(*more));
}

/// The most requests in flight, halved until a plan keeps the limits and then tried once in between.
void fewer_in_flight(PlanAnswer& answer) {
  const auto with = [&](int n) {
    return try_change(answer, fmt::format("--concurrency {}", n), [n](PlanRequest& r) { r.workload.concurrency = n; });
  };
  for (int n = *answer.request.workload.concurrency / 2; n >= 1; n /= 2) {
    auto change = with(n);
    if (!change || !change->fits) continue;
    if (auto more = n > 1 ? with(n + n / 2) : std::nullopt; more && more->fits) change = std::move(more);
    answer.nearest.push_back(std::move(*change));
    return;
  }
}

/// The limit, raised to two digits above what the nearest plan reaches that misses this one alone.
void looser_limit(PlanAnswer& answer) {
  for (const auto& plan : answer.search.near_misses) {
    if (plan.slos_missed.size() != 1) continue;
    const auto missed = std::find_if(plan.slos.begin(), plan.slos.end(), [](const SloOutcome& o) { return !o.met; });
    if (missed == plan.slos.end()) continue;
    const double ms = 1.001e3 * missed->value, step = std::pow(10.0, std::floor(std::log10(ms)) - 1);
    Slo looser = missed->slo;
    looser.limit = Seconds(std::round(std::ceil(ms / step) * step * 1e3) / 1e6);
    const std::string text = to_string(looser);  // "tpot:p99<27ms"
    const auto at = text.find(':');
    auto change =
        try_change(answer, fmt::format("--{} '{}'", text.substr(0, at), text.substr(at + 1)), [&](PlanRequest& r) {
          for (auto& slo : r.workload.slos)
            if (slo == missed->slo) slo = looser;
        });
    if (!change || !change->fits) continue;
    answer.nearest.push_back(std::move(*change));
    return;
  }
}

/// Plans fit, but none keeps the SLOs or serves the rate.
void keeps_no_limit(PlanAnswer& answer) {
  const auto& misses = answer.search.near_misses;
  const auto& nearest = misses.front();
  answer.no_reason = fmt::format("plans fit, but none keeps what was asked; the nearest, {}, misses {}",
                                 to_string(nearest.layout), join(nearest.slos_missed, "; "));
  const auto& w = answer.request.workload;
  if (w.request_rate) lower_rate(answer);
  if (w.slos.empty()) return;
  looser_limit(answer);
  if (w.concurrency) fewer_in_flight(answer);
  more_gpus(answer, 2);
  other_gpus(answer, [](const Gpu& g) { return g.memory_bandwidth.value; });
  fewer_bits(answer);
  std::erase_if(answer.nearest, [](const Change& c) { return !c.fits; });
}

/// Every setting that may make room.
void make_room(PlanAnswer& answer) {
  const auto& request = answer.request;
  const auto add = [&](const char* what, const auto& edit) {
    if (auto change = try_change(answer, what, edit)) answer.nearest.push_back(std::move(*change));
  };
  more_gpus(answer, 16);
  other_gpus(answer, [](const Gpu& g) { return to_gib(g.memory_total); });
  fewer_bits(answer);
  if (!request.pinned.kv_cache_dtype)
    add("--kv-cache-dtype fp8", [](PlanRequest& r) { r.pinned.kv_cache_dtype = "fp8"; });
  if (request.pinned.max_model_len || request.min_model_len)
    add("a shorter --max-model-len (what the workload needs)", [](PlanRequest& r) {
      r.pinned.max_model_len.reset();
      r.min_model_len.reset();
    });
  if (request.pinned.gpu_memory_utilization.value_or(0.9) < 0.95)
    add("--gpu-memory-utilization 0.95", [](PlanRequest& r) { r.pinned.gpu_memory_utilization = 0.95; });
  std::stable_partition(answer.nearest.begin(), answer.nearest.end(), [](const Change& c) { return c.fits; });
}

/// A layout and what its memory lacks.
struct NearestFit {
  Layout layout;
  MemoryPlan memory;
};

/// The layout that comes nearest: the smallest amount of memory missing on its binding rank.
std::optional<NearestFit> nearest_fit(const SearchRequest& request) {
  std::optional<NearestFit> nearest;
  std::vector<MemoryPlanner> planners;
  for (const auto& group : request.groups) planners.emplace_back(*request.model, group.cluster.first_gpu());
  enumerate_layouts(request, [&](const Layout& l) {
    const auto group = static_cast<std::size_t>(l.group);
    if (l.replicas > 1 || (!request.model->is_moe() && l.parallel.data_parallel_size > 1)) return;
    if (request.rules(request.groups[group], l.parallel)) return;
    EngineConfig engine = request.base[group];
    engine.parallel = l.parallel;
    engine.max_model_len = std::max<std::int64_t>(request.needed_model_len, 1);
    auto m = planners[group].plan(engine);
    if (m.refusal && (!nearest || m.refusal->missing < nearest->memory.refusal->missing)) nearest = {l, std::move(m)};
  });
  return nearest;
}

std::string missing_memory(const NearestFit& nearest) {
  const auto& m = nearest.memory;
  const auto& stage = m.stages[static_cast<std::size_t>(m.binding_stage)];
  return fmt::format(
      "does not fit: the nearest layout, {}, needs {:.1f} GiB more on each GPU of stage {} ({:.1f} GiB of weights, "
      "{:.1f} GiB of activations, graphs and buffers, {:.1f} GiB usable of {:.1f})",
      to_string(nearest.layout), to_gib(m.refusal->missing), stage.pp_rank, to_gib(stage.weights.total()),
      to_gib(stage.activation + stage.cuda_graph + stage.non_torch), to_gib(m.requested), to_gib(m.gpu_total));
}

bool lacks_memory(const SearchResult& r) {
  return std::ranges::any_of(r.rejected,
                             [](const RejectionCount& c) { return c.count > 0 && c.rule->when.in(Phase::memory); });
}

}  // namespace

void explain_nothing(PlanAnswer& answer, const SearchRequest& request) {
  const auto& r = answer.search;
  if (!r.near_misses.empty()) return keeps_no_limit(answer);
  if (r.layouts == 0) {
    answer.no_reason = "no layout has these sizes on the GPUs on offer";
    return;
  }
  const auto nearest = lacks_memory(r) ? nearest_fit(request) : std::nullopt;
  answer.no_reason = nearest           ? missing_memory(*nearest)
                     : lacks_memory(r) ? fmt::format(
                                             "does not fit with certainty: {} layouts, all more likely to fail "
                                             "than to start",
                                             r.layouts)
                                       : fmt::format("vLLM refuses all {} layouts", r.layouts);
  make_room(answer);
}

}  // namespace shardwise
