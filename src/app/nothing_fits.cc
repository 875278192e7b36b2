// When no plan stands: what is missing, by how much, and the changes, one at a time, that would make one stand.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "app/explain.h"
#include "app/nearest_changes.h"
#include "app/plan.h"
#include "base/text.h"
#include "memory/memory_planner.h"

namespace shardwise {
namespace {

/// Nodes for the whole request rate: copies of `best`, which serves `rate` requests/s on what is there.
std::optional<Change> whole_rate(const PlanRequest& request, const Plan& best, double rate) {
  constexpr int kMostNodes = 4096;
  if (request.max_gpus) return std::nullopt;
  const auto now = static_cast<int>(request.cluster.nodes.size());
  const double factor = *request.workload.request_rate / (0.9 * rate);
  const int times = static_cast<int>(std::ceil(factor));
  if (times < 2 || times > kMostNodes / now || !request.cluster.homogeneous()) return std::nullopt;
  PlanRequest larger = request;
  larger.cluster = with_nodes(request.cluster, now * times);
  larger.gpus_taken.clear();
  larger.max_gpus.reset();
  const auto s = search_request(larger, nullptr);
  if (s.pins.contains("replicas") || s.pins.contains("data_parallel_size")) return std::nullopt;
  Layout copies = best.layout;
  (request.model->is_moe() ? copies.replicas : copies.parallel.data_parallel_size) *= times;
  auto plan = evaluate_layout(s, copies, nullptr);
  if (!plan || !plan->slos_kept) return std::nullopt;
  Change change;
  change.what = larger.cluster.name;
  change.fits = true;
  change.note = fmt::format("about {:.1f} times the GPUs for the whole rate: {}", factor, to_string(copies));
  change.plan = std::move(plan);
  return change;
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
    const auto asked = fmt::format("{:.3g}", part * rate);
    const auto change =
        try_change(answer, "--rate " + asked, [&](PlanRequest& r) { r.workload.request_rate = std::stod(asked); });
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

}  // namespace

void explain_nothing(PlanAnswer& answer, const SearchRequest& request) {
  const auto& r = answer.search;
  if (!r.near_misses.empty()) return keeps_no_limit(answer);
  if (r.layouts == 0) {
    answer.no_reason = "no layout has these sizes on the GPUs on offer";
    return;
  }
  std::size_t memory = 0;
  for (const auto& c : r.rejected)
    if (c.rule->when.in(Phase::memory)) memory += c.count;
  if (memory == 0) {
    answer.no_reason = fmt::format("vLLM refuses all {} layouts", r.layouts);
    make_room(answer);
    return;
  }
  // The layout that comes nearest: the smallest amount of memory missing on its binding rank.
  std::optional<MemoryPlan> nearest;
  Layout layout;
  std::vector<MemoryPlanner> planners;
  for (const auto& group : request.groups) planners.emplace_back(*request.model, group.cluster.first_gpu());
  enumerate_layouts(request, [&](const Layout& l) {
    const auto& group = request.groups[static_cast<std::size_t>(l.group)];
    if (l.replicas > 1 || (!request.model->is_moe() && l.parallel.data_parallel_size > 1)) return;
    if (request.rules(group, l.parallel)) return;
    EngineConfig engine = request.base[static_cast<std::size_t>(l.group)];
    engine.parallel = l.parallel;
    engine.max_model_len = std::max<std::int64_t>(request.needed_model_len, 1);
    const auto m = planners[static_cast<std::size_t>(l.group)].plan(engine);
    if (m.refusal && (!nearest || m.refusal->missing < nearest->refusal->missing)) nearest = m, layout = l;
  });
  if (nearest) {
    const auto& stage = nearest->stages[static_cast<std::size_t>(nearest->binding_stage)];
    answer.no_reason = fmt::format(
        "does not fit: the nearest layout, {}, needs {:.1f} GiB more on each GPU of stage {} ({:.1f} GiB of weights, "
        "{:.1f} GiB of activations, graphs and buffers, {:.1f} GiB usable of {:.1f})",
        to_string(layout), to_gib(nearest->refusal->missing), stage.pp_rank, to_gib(stage.weights.total()),
        to_gib(stage.activation + stage.cuda_graph + stage.non_torch), to_gib(nearest->requested),
        to_gib(nearest->gpu_total));
  } else {
    answer.no_reason =
        fmt::format("does not fit with certainty: {} layouts, all more likely to fail than to start", r.layouts);
  }
  make_room(answer);
}

}  // namespace shardwise
