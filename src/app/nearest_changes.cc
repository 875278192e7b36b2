#include "app/nearest_changes.h"

#include <fmt/format.h>

#include <algorithm>

#include "app/simulate_plan.h"
#include "base/input_error.h"
#include "base/text.h"
#include "model/requantise.h"
#include "search/goal.h"

namespace shardwise {
namespace {

/// The same model stored in `bits`; nullptr if it is so narrow already.
std::shared_ptr<const Model> stored_in(const Model& model, WeightFormat format, int bits) {
  const auto& now = model.is_moe() ? model.quantisation.routed_experts : model.quantisation.dense_mlp;
  if (now.method != QuantScheme::Method::none && now.bits <= bits) return nullptr;
  return std::make_shared<const Model>(requantised(model, format));
}

/// GPUs per node of a single node, raised.
Cluster with_gpus(const Cluster& cluster, int gpus) {
  Cluster more = cluster;
  more.nodes.front().gpus = gpus;
  more.name = cluster_string(more);
  return more;
}

/// More of the same: a larger node up to 8 GPUs, then more nodes.
std::vector<Cluster> larger_clusters(const Cluster& cluster, int most_nodes) {
  std::vector<Cluster> out;
  const int nodes = static_cast<int>(cluster.nodes.size()), gpus = cluster.nodes.front().gpus;
  if (nodes == 1)
    for (const int n : {2, 4, 8})
      if (n > gpus) out.push_back(with_gpus(cluster, n));
  if (cluster.homogeneous())
    for (int n = nodes + 1; n <= std::max(most_nodes, 2 * nodes) && n <= 16; n += n >= 4 ? n / 2 : 1)
      out.push_back(with_nodes(cluster, n));
  return out;
}

/// The first plan that stands as `plan` decides: where SLOs or a rate are given the simulator judges, here the few that
/// the closed form has first.
std::optional<Plan> first_that_stands(const PlanRequest& request, const SearchRequest& s, const SearchResult& found) {
  constexpr std::size_t kTried = 3, kMisses = 1;
  constexpr double kNear = 0.3;  // of the limit, by which the closed form may be too strict
  if (!request.workload.has_limits() || simulated_finalists(request, found) == 0)
    return found.plans.empty() ? std::nullopt : std::optional(found.plans.front());
  for (std::size_t i = 0; i < found.plans.size() && i < kTried; ++i)
    if (auto plan = simulated(request, s, found.plans[i], false); plan.slos_kept) return plan;
  if (!found.plans.empty()) return std::nullopt;
  for (std::size_t i = 0; i < found.near_misses.size() && i < kMisses; ++i)
    if (slo_excess(request.workload.slos, found.near_misses[i].estimate) < kNear)
      if (auto plan = simulated(request, s, found.near_misses[i], false); plan.slos_kept) return plan;
  return std::nullopt;
}

std::optional<Change> on_other_gpus(const PlanAnswer& answer, const Cluster& cluster) {
  return try_change(answer, cluster.name, [&](PlanRequest& r) {
    r.cluster = cluster;
    r.gpus_taken.clear();
    r.max_gpus.reset();
  });
}

}  // namespace

std::optional<Change> try_change(const PlanAnswer& answer, const std::string& what,
                                 const std::function<void(PlanRequest&)>& edit) {
  PlanRequest changed = answer.request;
  edit(changed);
  changed.explain = false;
  Change change;
  change.what = what;
  try {
    const auto s = search_request(changed, nullptr);
    const auto found = search(s);
    change.plan = first_that_stands(changed, s, found);
    change.fits = change.plan.has_value();
    if (change.plan)
      change.note = plan_words(*change.plan), change.gain = change.plan->score;
    else
      change.note =
          found.rejected.empty() ? "still no plan" : "still no: " + std::string(found.rejected.front().rule->id);
  } catch (const InputError&) {
    return std::nullopt;  // the change itself is not possible here
  }
  return change;
}

std::string plan_words(const Plan& p) {
  return fmt::format("{}: {} tokens/s, {}, TTFT {:.0f} ms", to_string(p.layout),
                     with_commas(std::llround(p.estimate.output_tokens_per_second.mean)), tpot_words(p.estimate),
                     p.estimate.ttft_ms.mean);
}

Cluster with_nodes(const Cluster& cluster, int nodes) {
  Cluster more = cluster;
  more.nodes.assign(static_cast<std::size_t>(nodes), cluster.nodes.front());
  more.name = cluster_string(more);
  return more;
}

void more_gpus(PlanAnswer& answer, int most_nodes) {
  for (const auto& more : larger_clusters(answer.request.cluster, most_nodes)) {
    auto change = on_other_gpus(answer, more);
    if (!change || !change->fits) continue;
    answer.nearest.push_back(std::move(*change));
    return;
  }
}

void other_gpus(PlanAnswer& answer, double (*measure)(const Gpu&)) {
  constexpr std::size_t kOffered = 2;
  constexpr double kMore = 1.15;
  const auto& cluster = answer.request.cluster;
  const auto& gpu = cluster.first_gpu();
  std::vector<const Gpu*> larger;
  for (const auto& g : gpu_catalogue())
    if (g.vendor == gpu.vendor && measure(g) > measure(gpu) && g.scale_up) larger.push_back(&g);
  std::stable_sort(larger.begin(), larger.end(), [&](const Gpu* a, const Gpu* b) { return measure(*a) < measure(*b); });
  std::size_t offered = 0;
  double last = 0;
  for (const auto* g : larger) {
    if (offered == kOffered || measure(*g) < kMore * last) continue;
    last = measure(*g);
    auto change = on_other_gpus(
        answer, parse_cluster(fmt::format("{}x{}x{}", cluster.nodes.size(), cluster.nodes.front().gpus, g->name)));
    if (!change || !change->fits) continue;
    ++offered;
    answer.nearest.push_back(std::move(*change));
  }
}

void fewer_bits(PlanAnswer& answer) {
  const auto as = [&](const char* what, WeightFormat format, int bits) {
    const auto model = stored_in(*answer.request.model, format, bits);
    if (!model) return;
    if (auto change = try_change(answer, what, [&](PlanRequest& r) { r.model = model; }))
      answer.nearest.push_back(std::move(*change));
  };
  as("an FP8 checkpoint of the model", WeightFormat::fp8_channel, 8);
  as("a 4-bit checkpoint of the model", WeightFormat::int4_group, 4);
}

}  // namespace shardwise
