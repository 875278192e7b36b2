#include "search/search.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <set>

#include "base/parallel_map.h"
#include "cost/compiled_step.h"
#include "cost/step_compiler.h"
#include "memory/memory_planner.h"
#include "parallel/resolve.h"
#include "search/goal.h"
#include "search/space.h"
#include "serve/closed_form.h"

namespace shardwise {

/// One thread's memory planner and step compiler for each group of nodes, made when they are first needed.
class SearchWorker {
 public:
  explicit SearchWorker(const SearchRequest& asked) : request(asked), groups_(asked.groups.size()) {}

  const SearchRequest& request;
  MemoryPlanner& memory(int group) { return at(group).memory; }
  StepCompiler& steps(int group) { return at(group).steps; }
  const EngineRoom& room(int group) { return at(group).room; }

 private:
  struct Group {
    MemoryPlanner memory;
    StepCompiler steps;
    EngineRoom room;
  };
  Group& at(int group) {
    const auto g = static_cast<std::size_t>(group);
    if (!groups_[g]) {
      const auto& cluster = request.groups[g].cluster;
      const auto& constants = request.constants ? *request.constants : default_constants();
      groups_[g] = std::make_unique<Group>(Group{MemoryPlanner(*request.model, cluster.first_gpu()),
                                                 StepCompiler(*request.model, cluster, constants),
                                                 EngineRoom(request.groups[g])});
    }
    return *groups_[g];
  }
  std::vector<std::unique_ptr<Group>> groups_;
};

namespace {

constexpr std::size_t kMaxPlans = 100;  // listed in full; the Pareto set covers all
constexpr std::size_t kMaxNearMisses = 8;

/// One deployment size of a family, evaluated.
struct Evaluated {
  EngineConfig engine;
  MemoryPlan memory;
  std::shared_ptr<const CompiledStep> step;
  EnginePlacement placement;
};

struct Scored {
  Layout layout;
  RankKey key;
  double score = 0;
  double load = 0;    // concurrency on the whole deployment (0 where the rate or the trace gives it)
  double excess = 0;  // of the worst SLO
  bool saturated = false;
};

struct Point {
  double load, per_gpu, per_user;
  Layout layout;
};

struct FamilyResult {
  std::vector<Scored> scored;
  std::vector<Point> points;
  std::vector<RejectionCount> rejected;
};

bool load_given(const Workload& w) { return w.concurrency || w.request_rate || w.trace; }

/// `example` is only asked for when the rule is new: most of a million layouts are refused by a handful of rules.
template <class Example>
void count_rejection(std::vector<RejectionCount>& counts, const Rule* rule, std::size_t n, Example&& example) {
  for (auto& c : counts)
    if (c.rule == rule) return void(c.count += n);
  counts.push_back({rule, n, example()});
}

EnginePlacement placement_of(const EngineRoom& room, const ParallelConfig& p) {
  const auto span = room.span(p.world_size());
  if (span && span->nodes > 1) return {span->gpus_per_node};
  const int local_engines = std::max(1, std::min(p.data_parallel_size, room.largest() / p.world_size()));
  return {local_engines * p.world_size()};
}

/// As many requests as the cache certainly has blocks for, in steps of 8.
void lower_max_num_seqs(MemoryPlanner& planner, Evaluated& e) {
  const auto seqs = *e.memory.certain_max_num_seqs / 8 * 8;
  if (seqs < 8) return;
  e.engine.max_num_seqs = seqs;
  std::erase_if(e.engine.cudagraph_capture_sizes, [&](int size) { return size > 2 * seqs; });
  e.memory = planner.plan(e.engine);
}

/// Engine and memory of a layout; a refusal if it does not fit.
std::optional<Evaluated> fit(SearchWorker& worker, const Layout& layout, std::optional<Refusal>* why) {
  const auto& request = worker.request;
  auto& planner = worker.memory(layout.group);
  Evaluated out;
  out.engine = request.base[static_cast<std::size_t>(layout.group)];
  out.engine.parallel = layout.parallel;
  out.engine.effective_placement =
      effective_placement(layout.parallel, request.num_expert_group, out.engine.vllm_version);
  out.memory = planner.plan(out.engine);
  if (out.memory.refusal && out.memory.refusal->is("memory_max_model_len") && !request.pinned_model_len) {
    const auto longest = out.memory.refusal->estimated_max_model_len.value_or(0) / 256 * 256;
    if (longest >= request.needed_model_len && longest > 0) {
      out.engine.max_model_len = longest;
      out.memory = planner.plan(out.engine);
    }
  }
  if (out.memory.certain_max_num_seqs.value_or(out.engine.max_num_seqs) < out.engine.max_num_seqs &&
      !request.pinned_max_num_seqs)
    lower_max_num_seqs(planner, out);
  if (out.memory.refusal) {
    if (why) *why = *out.memory.refusal;
    return std::nullopt;
  }
  if (out.memory.probability_fits < request.min_probability_fits) {
    if (why)
      *why = refuse("memory_unlikely",
                    fmt::format("starts with a probability of {:.0f} % only", 100 * out.memory.probability_fits));
    return std::nullopt;
  }
  return out;
}

void compile(SearchWorker& worker, const Layout& layout, Evaluated& e) {
  e.placement = placement_of(worker.room(layout.group), layout.parallel);
  e.step = std::make_shared<const CompiledStep>(worker.steps(layout.group).compile(e.engine, e.placement));
}

/// Loads tried for one deployment when none is given: 1, 2, 4, 8 ... sequences a data parallel rank of every replica,
/// and the number that just fills the KV cache; choose() then looks between the best one and its neighbours.
std::vector<double> sweep(const Evaluated& e, int replicas, const Workload& workload) {
  const double longest = workload.isl.mean() + workload.osl.mean();
  const double per_rank_cap =
      std::min<double>(static_cast<double>(e.engine.max_num_seqs), e.memory.concurrency_at(longest));
  std::vector<double> loads;
  for (double b = 1; b < std::min(per_rank_cap, 4096.0); b *= 2) loads.push_back(b);
  loads.push_back(std::max(1.0, std::floor(per_rank_cap)));
  const double ranks = e.engine.parallel.data_parallel_size * replicas;
  for (auto& load : loads) load *= ranks;
  return loads;
}

ServingEstimate estimate_at(const Evaluated& e, int replicas, Workload& workload, double load) {
  if (load > 0) workload.concurrency = static_cast<int>(std::lround(load));
  return estimate_serving(*e.step, e.memory, e.engine, replicas, workload);
}

/// Best load for one deployment (replicas = 1), or the given load for `replicas` of them.
struct Choice {
  ServingEstimate estimate;
  double load = 0, score = -1, excess = 0;
};

bool prefer(const Choice& a, const Choice& b) {
  if ((a.excess > 0) != (b.excess > 0)) return a.excess == 0;
  if (a.excess > 0) return a.excess < b.excess;
  return a.score > b.score;
}

Choice choose(const SearchRequest& request, const Layout& layout, const Evaluated& e, int budget, Workload& workload,
              std::vector<Point>* points) {
  const auto at = [&](double load) {
    Choice c;
    c.estimate = estimate_at(e, layout.replicas, workload, load);
    c.load = load;
    c.score = goal_score(request, layout, c.estimate, budget);
    c.excess = slo_excess(workload.slos, c.estimate);
    if (points && c.excess == 0 && !c.estimate.saturated)
      points->push_back({load > 0 ? load : c.estimate.concurrency, c.estimate.output_tokens_per_second_per_gpu.mean,
                         c.estimate.tpot_ms.mean > 0 ? 1e3 / c.estimate.tpot_ms.mean : 0, layout});
    return c;
  };
  if (load_given(request.workload)) return at(request.workload.concurrency ? *request.workload.concurrency : 0);
  if (request.goal == Goal::latency) return at(1);
  Choice best;
  double last_kept = 0, first_missed = 0;
  const auto loads = sweep(e, layout.replicas, workload);
  std::size_t best_index = 0;
  for (std::size_t i = 0; i < loads.size(); ++i) {
    const Choice c = at(loads[i]);
    if (c.excess == 0)
      last_kept = loads[i];
    else if (first_missed == 0 && last_kept > 0)
      first_missed = loads[i];
    if (best.score < 0 || prefer(c, best)) best = c, best_index = i;
  }
  const double ranks = e.engine.parallel.data_parallel_size * layout.replicas;
  const double centre = loads[best_index];
  for (const std::size_t neighbour : {best_index - 1, best_index + 1})
    if (neighbour < loads.size()) {
      const double between = std::floor((centre + loads[neighbour]) / 2 / ranks) * ranks;
      if (between != centre && between != loads[neighbour] && between > 0)
        if (const Choice c = at(between); prefer(c, best)) best = c;
    }
  // The SLO's border lies between two loads of the sweep: find it by halving.
  for (int i = 0; i < 6 && first_missed > last_kept + 1.5 * ranks; ++i) {
    const double mid = std::floor((last_kept + first_missed) / 2 / ranks) * ranks;
    const Choice c = at(mid);
    (c.excess == 0 ? last_kept : first_missed) = mid;
    if (prefer(c, best)) best = c;
  }
  return best;
}

/// Points that no other beats in both; a is faster per user first.
void keep_pareto(std::vector<Point>& points) {
  std::sort(points.begin(), points.end(), [](const Point& a, const Point& b) {
    return std::tie(b.per_user, b.per_gpu) < std::tie(a.per_user, a.per_gpu);
  });
  std::vector<Point> kept;
  for (auto& p : points)
    if (kept.empty() || p.per_gpu > kept.back().per_gpu) kept.push_back(std::move(p));
  points = std::move(kept);
}

FamilyResult evaluate_family(SearchWorker& worker, const Family& family, int budget) {
  const auto& request = worker.request;
  FamilyResult result;
  Workload workload = request.workload;
  const bool moe = request.model->is_moe();
  const bool scale_replicas = !load_given(request.workload) && request.goal != Goal::latency;
  std::optional<Evaluated> shared;  // of a dense model: the same for every number of copies
  int evaluated_dp = 0, unfit_dp = 0;
  std::optional<Refusal> why;  // for want of memory
  std::optional<Choice> one_replica;
  Layout layout = family.base;
  std::optional<Refusal> refused;  // by vLLM, whatever the number of replicas
  int refused_dp = 0;
  for (const auto& [dp, replicas] : family.copies) {
    layout.parallel.data_parallel_size = dp;
    layout.replicas = replicas;
    if (refused_dp != dp) {
      refused = request.rules(request.groups[static_cast<std::size_t>(layout.group)], layout.parallel);
      refused_dp = dp;
    }
    if (refused) {
      count_rejection(result.rejected, refused->rule, 1, [&] { return to_string(layout) + ": " + refused->message; });
      continue;
    }
    if (moe && unfit_dp == dp) {  // replicas do not change the memory of one
      count_rejection(result.rejected, why->rule, 1, [&] { return to_string(layout) + ": " + why->message; });
      continue;
    }
    if (!shared || (moe && evaluated_dp != dp)) {
      shared = fit(worker, layout, &why);
      evaluated_dp = dp;
      unfit_dp = shared ? 0 : dp;
      if (!shared) {
        const auto example = [&] { return to_string(layout) + ": " + why->message; };
        count_rejection(result.rejected, why->rule, 1, example);
        if (!moe) {  // no number of copies changes the memory of one
          count_rejection(result.rejected, why->rule, family.copies.size() - 1, example);
          break;
        }
        continue;
      }
      compile(worker, layout, *shared);
      one_replica.reset();
    }
    shared->engine.parallel.data_parallel_size = dp;
    Choice choice;
    if (scale_replicas && one_replica && evaluated_dp == dp && replicas > 1) {
      // Without a given load every replica runs at its own best load: the same point, `replicas` times.
      choice = *one_replica;
      choice.load *= replicas;
      choice.estimate.output_tokens_per_second.mean *= replicas;
      choice.score = goal_score(request, layout, choice.estimate, budget);
    } else {
      choice = choose(request, layout, *shared, budget, workload, &result.points);
      if (replicas == 1) one_replica = choice;
    }
    evaluated_dp = dp;
    result.scored.push_back(
        {layout,
         {choice.score * shared->memory.probability_fits, layout.gpus(), complexity(layout), request.fewest_gpus},
         choice.score,
         choice.load,
         choice.excess,
         choice.estimate.saturated && request.workload.request_rate.has_value()});
  }
  keep_pareto(result.points);
  return result;
}

Plan materialise(SearchWorker& worker, const Scored& s) {
  const auto& request = worker.request;
  auto e = fit(worker, s.layout, nullptr);
  compile(worker, s.layout, *e);
  Workload workload = request.workload;
  Plan plan;
  plan.layout = s.layout;
  plan.estimate = estimate_at(*e, s.layout.replicas, workload, s.load);
  plan.engine = std::move(e->engine);
  plan.memory = std::move(e->memory);
  plan.step = std::move(e->step);
  plan.placement = e->placement;
  plan.score = s.score;
  plan.slos_kept = slo_excess(workload.slos, plan.estimate, &plan.slos_missed) == 0;
  if (s.saturated)
    plan.slos_missed.push_back(fmt::format("serves {:.2f} of {:.2f} requests/s", plan.estimate.requests_per_second,
                                           request.workload.request_rate.value_or(0)));
  return plan;
}

constexpr std::size_t kMaxCurveValues = 12;

/// Indices into `good`: the best layout of each value of a dimension, by rising value.
std::vector<std::size_t> best_by_value(const Dimension& d, const std::vector<Scored>& good, const auto& order) {
  const auto lower = [&](std::size_t a, std::size_t b) { return lower_value(d, good[a].layout, good[b].layout); };
  std::set<std::size_t, decltype(lower)> best(lower);
  for (std::size_t i = 0; i < good.size(); ++i) {
    const auto [it, fresh] = best.insert(i);
    if (!fresh && order(good[i], good[*it])) best.insert(best.erase(it), i);
  }
  std::vector<std::size_t> chosen(best.begin(), best.end());
  if (chosen.size() <= kMaxCurveValues) return chosen;
  std::partial_sort(chosen.begin(), chosen.begin() + kMaxCurveValues, chosen.end(),
                    [&](std::size_t a, std::size_t b) { return order(good[a], good[b]); });
  chosen.resize(kMaxCurveValues);
  std::sort(chosen.begin(), chosen.end(), lower);
  return chosen;
}

constexpr std::size_t kRefinedPlans = 8;

/// Of the families of the best plans, the numbers of copies about theirs that were left out.
std::vector<Family> around_best(const LayoutSpace& space, const Pins& pins, const std::vector<Scored>& scored,
                                const auto& order) {
  std::vector<Scored> best(std::min(kRefinedPlans, scored.size()));
  std::partial_sort_copy(scored.begin(), scored.end(), best.begin(), best.end(), order);
  std::vector<Family> out;
  for (const auto& s : best) {
    const auto family = std::find_if(space.families.begin(), space.families.end(),
                                     [&](const Family& f) { return same_but_copies(f.base, s.layout); });
    auto copies = copies_left_out(space, pins, *family, {s.layout.parallel.data_parallel_size, s.layout.replicas});
    for (const auto& had : out)
      if (same_but_copies(had.base, s.layout))
        std::erase_if(copies, [&](Copies c) { return std::binary_search(had.copies.begin(), had.copies.end(), c); });
    if (!copies.empty()) out.push_back({family->base, std::move(copies)});
  }
  return out;
}

}  // namespace

LayoutEvaluator::LayoutEvaluator(const SearchRequest& request) : worker_(std::make_unique<SearchWorker>(request)) {}
LayoutEvaluator::~LayoutEvaluator() = default;

std::optional<Plan> LayoutEvaluator::operator()(const Layout& layout, std::optional<Refusal>* why) {
  const auto& request = worker_->request;
  if (auto refused = request.rules(request.groups[static_cast<std::size_t>(layout.group)], layout.parallel)) {
    if (why) *why = *refused;
    return std::nullopt;
  }
  auto e = fit(*worker_, layout, why);
  if (!e) return std::nullopt;
  compile(*worker_, layout, *e);
  Workload workload = request.workload;
  const int budget = budget_gpus(request);
  const auto choice = choose(request, layout, *e, budget, workload, nullptr);
  return materialise(*worker_, {layout,
                                {},
                                choice.score,
                                choice.load,
                                choice.excess,
                                choice.estimate.saturated && request.workload.request_rate.has_value()});
}

std::optional<Plan> evaluate_layout(const SearchRequest& request, const Layout& layout, std::optional<Refusal>* why) {
  return LayoutEvaluator(request)(layout, why);
}

SearchResult search(const SearchRequest& request) {
  SearchResult result;
  const int budget = budget_gpus(request);
  const auto space = layout_space(request);
  result.copies_step = space.copies_step;

  std::deque<SearchWorker> workers;
  for (unsigned t = 0; t < thread_count(request.threads); ++t) workers.emplace_back(request);
  std::vector<Scored> good, near;
  std::vector<Point> points;
  const auto evaluate = [&](const std::vector<Family>& some) {
    std::vector<FamilyResult> done(some.size());
    parallel_for_threads(some.size(), request.threads, [&](unsigned thread, std::size_t i) {
      done[i] = evaluate_family(workers[thread], some[i], budget);
    });
    for (const auto& family : some) result.layouts += family.copies.size();
    for (auto& f : done) {
      for (auto& r : f.rejected) count_rejection(result.rejected, r.rule, r.count, [&] { return r.example; });
      for (auto& s : f.scored) (s.excess == 0 && !s.saturated ? good : near).push_back(s);
      points.insert(points.end(), f.points.begin(), f.points.end());
    }
  };
  evaluate(space.families);

  const auto order = [](const Scored& a, const Scored& b) {
    if (better(a.key, b.key)) return true;
    if (better(b.key, a.key)) return false;
    return to_string(a.layout) < to_string(b.layout);
  };
  const auto nearer = [&](const Scored& a, const Scored& b) {
    return a.excess != b.excess ? a.excess < b.excess : order(a, b);
  };
  if (space.copies_step > 0) evaluate(around_best(space, request.pins, good.empty() ? near : good, order));
  std::stable_sort(result.rejected.begin(), result.rejected.end(),
                   [](const auto& a, const auto& b) { return a.count > b.count; });
  const auto take = [](std::vector<Scored>& from, std::size_t n, const auto& less) {
    n = std::min(n, from.size());
    std::partial_sort(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(n), from.end(), less);
    from.resize(n);
  };
  std::vector<std::pair<const Dimension*, std::size_t>> curves;
  for (const auto* d : rungs())
    if (has_curve(*d))
      for (const auto i : best_by_value(*d, good, order)) curves.emplace_back(d, i);
  result.best_by.resize(curves.size());
  parallel_for_threads(curves.size(), request.threads, [&](unsigned thread, std::size_t i) {
    const auto& [dimension, index] = curves[i];
    const auto& s = good[index];
    result.best_by[i] = {dimension->name, value_of(*dimension, s.layout), s.layout,
                         materialise(workers[thread], s).estimate, s.score};
  });
  result.standing = good.size();
  take(good, kMaxPlans, order);
  take(near, kMaxNearMisses, nearer);
  result.plans.resize(good.size());
  result.near_misses.resize(near.size());
  parallel_for_threads(good.size(), request.threads, [&](unsigned thread, std::size_t i) {
    result.plans[i] = materialise(workers[thread], good[i]);
  });
  parallel_for_threads(near.size(), request.threads, [&](unsigned thread, std::size_t i) {
    result.near_misses[i] = materialise(workers[thread], near[i]);
  });

  keep_pareto(points);
  for (const auto& p : points) result.pareto.push_back({p.layout, p.load, p.per_gpu, p.per_user});
  std::reverse(result.pareto.begin(), result.pareto.end());
  return result;
}

}  // namespace shardwise
