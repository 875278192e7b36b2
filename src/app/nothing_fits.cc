// When no plan stands: what is missing, by how much, and the nearest changes that would make one stand.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "app/explain.h"
#include "app/plan.h"
#include "base/input_error.h"
#include "base/text.h"
#include "memory/memory_planner.h"
#include "model/requantise.h"

namespace shardwise {
namespace {

std::optional<Change> try_change(const std::string& what, const PlanRequest& request,
                                 const std::function<void(PlanRequest&)>& edit) {
  PlanRequest changed = request;
  edit(changed);
  changed.explain = false;
  Change change;
  change.what = what;
  try {
    const auto s = search_request(changed, nullptr);
    auto found = search(s);
    if (!found.plans.empty()) {
      change.fits = true;
      change.plan = std::move(found.plans.front());
      change.note = to_string(change.plan->layout);
      change.gain = change.plan->score;
    } else {
      change.note =
          found.rejected.empty() ? "still no plan" : "still no: " + std::string(found.rejected.front().rule->id);
    }
  } catch (const InputError&) {
    return std::nullopt;  // the change itself is not possible here
  }
  return change;
}

/// The same model stored in `bits`; nullptr if it is so narrow already.
std::shared_ptr<const Model> stored_in(const Model& model, WeightFormat format, int bits) {
  const auto& now = model.is_moe() ? model.quantisation.routed_experts : model.quantisation.dense_mlp;
  if (now.method != QuantScheme::Method::none && now.bits <= bits) return nullptr;
  return std::make_shared<const Model>(requantised(model, format));
}

/// Cluster with `nodes` nodes like the first one.
Cluster with_nodes(const Cluster& cluster, int nodes) {
  Cluster more = cluster;
  more.nodes.assign(static_cast<std::size_t>(nodes), cluster.nodes.front());
  more.name = cluster_string(more);
  return more;
}

/// GPUs per node of a single node, raised.
Cluster with_gpus(const Cluster& cluster, int gpus) {
  Cluster more = cluster;
  more.nodes.front().gpus = gpus;
  more.name = cluster_string(more);
  return more;
}

void smaller_question(PlanAnswer& answer) {
  const auto& request = answer.request;
  const auto add = [&](std::optional<Change> change) {
    if (change) answer.nearest.push_back(std::move(*change));
  };
  // More GPUs of the same kind: the fewest nodes (or GPUs of one node) that will do.
  bool enough = false;
  if (request.cluster.nodes.size() == 1 && request.cluster.nodes.front().gpus < 8)
    for (int gpus : {2, 4, 8}) {
      if (gpus <= request.cluster.nodes.front().gpus || enough) continue;
      const auto more = with_gpus(request.cluster, gpus);
      auto change = try_change(more.name, request, [&](PlanRequest& r) {
        r.cluster = more;
        r.gpus_taken.clear();
        r.max_gpus.reset();
      });
      if (change && change->fits) enough = true, add(std::move(change));
    }
  for (int nodes = static_cast<int>(request.cluster.nodes.size()) + 1;
       nodes <= 16 && !enough && request.cluster.homogeneous(); nodes += nodes >= 4 ? nodes / 2 : 1) {
    const auto more = with_nodes(request.cluster, nodes);
    auto change = try_change(more.name, request, [&](PlanRequest& r) {
      r.cluster = more;
      r.gpus_taken.clear();
      r.max_gpus.reset();
    });
    if (change && change->fits) enough = true, add(std::move(change));
  }
  // Larger GPUs, as many.
  const auto& gpu = request.cluster.first_gpu();
  int tried = 0;
  std::vector<const Gpu*> larger;
  for (const auto& g : gpu_catalogue())
    if (g.vendor == gpu.vendor && g.memory_total > gpu.memory_total && g.scale_up) larger.push_back(&g);
  std::stable_sort(larger.begin(), larger.end(),
                   [](const Gpu* a, const Gpu* b) { return a->memory_total < b->memory_total; });
  std::int64_t last = 0;
  for (const auto* g : larger) {
    if (tried == 2) break;
    if (to_gib(g->memory_total) < 1.15 * to_gib(Bytes(last))) continue;
    last = g->memory_total.value;
    try {
      const auto other = parse_cluster(
          fmt::format("{}x{}x{}", request.cluster.nodes.size(), request.cluster.nodes.front().gpus, g->name));
      auto change = try_change(cluster_string(other), request, [&](PlanRequest& r) {
        r.cluster = other;
        r.gpus_taken.clear();
      });
      if (change && change->fits) ++tried, add(std::move(change));
    } catch (const InputError&) {
    }
  }
  if (auto fp8 = stored_in(*request.model, WeightFormat::fp8_channel, 8))
    add(try_change("an FP8 checkpoint of the model", request, [&](PlanRequest& r) { r.model = fp8; }));
  if (auto int4 = stored_in(*request.model, WeightFormat::int4_group, 4))
    add(try_change("a 4-bit checkpoint of the model", request, [&](PlanRequest& r) { r.model = int4; }));
  if (!request.pinned.kv_cache_dtype)
    add(try_change("--kv-cache-dtype fp8", request, [](PlanRequest& r) { r.pinned.kv_cache_dtype = "fp8"; }));
  if (request.pinned.max_model_len || request.min_model_len)
    add(try_change("a shorter --max-model-len (what the workload needs)", request, [](PlanRequest& r) {
      r.pinned.max_model_len.reset();
      r.min_model_len.reset();
    }));
  if (request.pinned.gpu_memory_utilization.value_or(0.9) < 0.95)
    add(try_change("--gpu-memory-utilization 0.95", request,
                   [](PlanRequest& r) { r.pinned.gpu_memory_utilization = 0.95; }));
  std::stable_partition(answer.nearest.begin(), answer.nearest.end(), [](const Change& c) { return c.fits; });
}

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

}  // namespace

void explain_nothing(PlanAnswer& answer, const SearchRequest& request) {
  const auto& r = answer.search;
  if (!r.near_misses.empty()) {
    // Plans fit, but none keeps the SLOs or serves the rate.
    const auto& nearest = r.near_misses.front();
    answer.no_reason = fmt::format("{} plans fit, none keeps what was asked; the nearest, {}, misses: {}",
                                   r.near_misses.size() == 8 ? "several" : std::to_string(r.near_misses.size()),
                                   to_string(nearest.layout), join(nearest.slos_missed, "; "));
    if (answer.request.workload.request_rate) {
      PlanRequest best = answer.request;
      best.workload.request_rate.reset();
      best.workload.concurrency.reset();
      best.goal = Goal::throughput;
      best.explain = false;
      auto s = search_request(best, nullptr);
      const auto found = search(s);
      if (!found.plans.empty()) {
        const auto& p = found.plans.front();
        const double rate = p.estimate.output_tokens_per_second.mean / best.workload.osl.mean();
        Change change;
        change.what = fmt::format("--rate {:.3g}", rate * 0.9);
        change.fits = true;
        change.plan = p;
        change.note = fmt::format("{} serves at most {:.2f} requests/s of these lengths", to_string(p.layout), rate);
        answer.nearest.push_back(std::move(change));
        if (auto more = whole_rate(answer.request, p, rate)) answer.nearest.push_back(std::move(*more));
      }
    }
    for (const auto& plan : r.near_misses) {
      if (answer.nearest.size() > 6) break;
      if (plan.slos_missed.empty()) continue;
      Change change;
      change.what = "accept " + to_string(plan.layout);
      change.note = join(plan.slos_missed, "; ");
      change.plan = plan;
      answer.nearest.push_back(std::move(change));
    }
    return;
  }
  if (r.layouts == 0) {
    answer.no_reason = "no layout has these sizes on the GPUs on offer";
    return;
  }
  std::size_t memory = 0;
  for (const auto& c : r.rejected)
    if (c.rule->when.in(Phase::memory)) memory += c.count;
  if (memory == 0) {
    answer.no_reason = fmt::format("vLLM refuses all {} layouts", r.layouts);
    smaller_question(answer);
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
  smaller_question(answer);
}

}  // namespace shardwise
