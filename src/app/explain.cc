#include "app/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <utility>

#include "app/plan.h"
#include "app/simulate_plan.h"
#include "base/parallel_map.h"
#include "base/text.h"
#include "search/goal.h"

namespace shardwise {

StepBatch decode_batch(const Plan& plan, const Workload& workload) {
  StepBatch batch;
  batch.decode_seqs = std::max(1.0, plan.estimate.running_per_engine);
  batch.decode_context = batch.decode_seqs * (workload.isl.mean() + workload.osl.mean() / 2);
  return batch;
}

namespace {

int requests_in_flight(const Plan& plan) { return static_cast<int>(std::lround(plan.estimate.concurrency)); }

bool load_is_free(const Workload& w) { return !w.concurrency && !w.request_rate && !w.trace; }

std::string percent(double ratio) { return fmt::format("{:+.0f} %", 100 * (ratio - 1)); }

const char* goal_words(Goal goal) {
  switch (goal) {
    case Goal::throughput:
      return "output tokens/s";
    case Goal::latency:
      return "speed (1 / mean E2E)";
    case Goal::cost:
      return "output tokens per unit of price";
    case Goal::balanced:
      return "tokens/s per GPU x tokens/s per user";
  }
  return "";
}

/// What is explained; `asked` and `request` may be at a load that the user left open.
struct Question {
  const PlanAnswer& answer;
  const PlanRequest& asked;
  const SearchRequest& request;
  const Plan& w;
  LayoutEvaluator& layouts;
  const SearchRequest& free;  ///< as the user asked it: what plans are worth
};

/// A plan as the winner was priced: simulated where that was. It is at its load already.
Plan as_priced(const Question& q, Plan plan) {
  if (!q.answer.simulated) return plan;
  for (const auto& p : q.answer.search.plans)
    if (p.simulated && p.layout == plan.layout && requests_in_flight(p) == requests_in_flight(plan)) return p;
  return simulated(q.asked, q.request, std::move(plan), false);
}

using ValueTest = std::function<bool(const DimensionValue&)>;

/// What the search found best by the closed form among layouts whose `dimension` passes.
std::optional<Plan> best_found(const Question& q, std::string_view dimension, const ValueTest& passes) {
  const BestBy* best = nullptr;
  for (const auto& b : q.answer.search.best_by)
    if (b.dimension == dimension && passes(b.value) && (!best || b.score > best->score)) best = &b;
  return best ? q.layouts(best->layout) : std::nullopt;
}

/// The best of them, priced as the winner was: the first of the ranked plans that were simulated, else the closed
/// form's.
std::optional<Plan> best_where(const Question& q, std::string_view dimension, const ValueTest& passes) {
  const auto& d = *find_dimension(dimension);
  for (const auto& p : q.answer.search.plans)
    if (p.simulated && passes(value_of(d, p.layout))) return p;
  auto found = best_found(q, dimension, passes);
  return found ? std::optional(as_priced(q, *std::move(found))) : std::nullopt;
}

double ratio(const Question& q, double score) { return q.w.score > 0 ? score / q.w.score : 0; }

/// Time shares of the winner's step at its load, for "what bounds it".
std::string step_shares(const Plan& plan, const Workload& workload) {
  const auto rows = plan.step->breakdown(decode_batch(plan, workload));
  double total = 0, memory = 0, compute = 0, communication = 0, host = 0;
  for (const auto& row : rows) {
    total += row.time.value;
    (row.bound == "memory"          ? memory
     : row.bound == "compute"       ? compute
     : row.bound == "communication" ? communication
                                    : host) += row.time.value;
  }
  if (total <= 0) return "";
  return fmt::format(
      "a decode step of {:.1f} ms is {:.0f} % memory traffic, {:.0f} % compute, {:.0f} % communication, {:.0f} % host",
      1e3 * total, 100 * memory / total, 100 * compute / total, 100 * communication / total, 100 * host / total);
}

/// Where the load is open, plans are at different ones.
std::string describe(const Question& q, const Plan& p) {
  const auto load =
      requests_in_flight(p) == requests_in_flight(q.w) ? "" : fmt::format(" with {} in flight", requests_in_flight(p));
  return fmt::format("{} ({:.0f} tokens/s{}, {}, TTFT {:.0f} ms)", to_string(p.layout),
                     p.estimate.output_tokens_per_second.mean, load, tpot_words(p.estimate), p.estimate.ttft_ms.mean);
}

/// Why a layout cannot stand, or "".
std::string refusal_of(const Question& q, Layout layout) {
  std::optional<Refusal> why;
  if (layout.gpus() > budget_gpus(q.request)) return fmt::format("needs {} GPUs", layout.gpus());
  if (q.layouts(layout, &why)) return "";
  return why->message;
}

std::string reason_tp(const Question& q) {
  const auto& p = q.w.layout.parallel;
  const int tp = p.tensor_parallel_size;
  const auto& gpu = q.request.groups[static_cast<std::size_t>(q.w.layout.group)].cluster.first_gpu();
  const double weights = to_gib(q.w.memory.stages[static_cast<std::size_t>(q.w.memory.binding_stage)].weights.total());
  const auto best_of = [&](int size) {
    return best_where(q, "tensor_parallel_size", [&](const DimensionValue& v) { return v == DimensionValue(size); });
  };
  std::string text = fmt::format("TP {}: ", tp);
  if (tp > 1) {
    Layout half = q.w.layout;
    half.parallel.tensor_parallel_size = tp / 2;
    half.parallel.decode_context_parallel_size = 1;
    if (const auto less = best_of(tp / 2))
      text += fmt::format("at TP {} the best plan is {}, {} in {}; ", tp / 2, describe(q, *less),
                          percent(ratio(q, less->score)), goal_words(q.request.goal));
    else if (const auto why = refusal_of(q, half); !why.empty())
      text += fmt::format("TP {} does not stand ({}); ", tp / 2, why);
  }
  if (const auto more = best_of(tp * 2))
    text += fmt::format("TP {} gives {} at best ({})", tp * 2, percent(ratio(q, more->score)), to_string(more->layout));
  else {
    Layout twice = q.w.layout;
    twice.parallel.tensor_parallel_size = tp * 2;
    twice.parallel.data_parallel_size = std::max(1, twice.parallel.data_parallel_size / 2);
    const auto why = refusal_of(q, twice);
    text += why.empty() ? fmt::format("TP {} leaves nothing to gain", tp * 2)
                        : fmt::format("TP {} does not stand ({})", tp * 2, why);
  }
  return text + fmt::format(". Weights are {:.1f} GiB a rank of {:.1f} GiB on {}.", weights, to_gib(gpu.memory_total),
                            gpu.name);
}

std::string reason_dimension(const Question& q, std::string_view dimension, const std::string& name,
                             const std::string& meaning) {
  std::string text = name + ": " + meaning;
  const auto ours = value_of(*find_dimension(dimension), q.w.layout);
  if (const auto other = best_where(q, dimension, [&](const DimensionValue& v) { return v != ours; }))
    text += fmt::format("; the best plan otherwise is {}, {}", describe(q, *other), percent(ratio(q, other->score)));
  else
    text += "; no other value stands";
  return text + ".";
}

using Sentences = std::vector<std::string>;

Sentences reason_dp(const Question& q) {
  const int copies = q.w.layout.parallel.data_parallel_size;
  const std::string meaning = copies == 1 ? "one engine"
                              : q.request.model->is_moe()
                                  ? fmt::format("{} attention ranks that step together and share the experts", copies)
                                  : fmt::format("{} independent engines share the load", copies);
  return {reason_dimension(q, "data_parallel_size", fmt::format("DP {}", copies), meaning)};
}

Sentences reason_replicas(const Question& q) {
  if (q.w.layout.replicas == 1) return {};
  return {reason_dimension(q, "replicas", fmt::format("{} replicas", q.w.layout.replicas),
                           "separate deployments behind a router, no lockstep between them")};
}

Sentences reason_pp(const Question& q) {
  const auto& p = q.w.layout.parallel;
  std::string meaning = "no pipeline: every rank holds all layers";
  if (p.pipeline_parallel_size > 1) {
    std::vector<std::string> counts;
    for (const auto& [first, last] : pp_layers(q.request.model->num_hidden_layers(), p))
      counts.push_back(std::to_string(last - first));
    meaning = "layers " + join(counts, " + ");
  }
  return {reason_dimension(q, "pipeline_parallel_size", fmt::format("PP {}", p.pipeline_parallel_size), meaning)};
}

Sentences reason_ep(const Question& q) {
  const auto& p = q.w.layout.parallel;
  const Model& model = *q.request.model;
  if (!model.is_moe()) return {"EP: the model has no experts."};
  const int ep = p.expert_parallel_size();
  const std::string meaning =
      p.enable_expert_parallel
          ? fmt::format("{} of {} experts a rank, whole; adds no GPUs", (model.num_experts() + ep - 1) / ep,
                        model.num_experts())
          : fmt::format("each expert is split over TP x DP = {} ranks", p.tensor_parallel_size * p.data_parallel_size);
  return {reason_dimension(q, "enable_expert_parallel", p.enable_expert_parallel ? fmt::format("EP {}", ep) : "EP off",
                           meaning)};
}

Sentences reason_placement(const Question& q) {
  const auto effective = q.w.engine.effective_placement, asked = q.w.layout.parallel.expert_placement_strategy;
  if (!q.request.model->is_moe() || !q.w.layout.parallel.enable_expert_parallel) return {};
  const char* why = effective != asked ? "asked for round_robin, but vLLM falls back to linear here"
                    : effective == ExpertPlacement::linear
                        ? "round_robin would change nothing here or be turned into linear by vLLM"
                        : "neighbouring experts of a group spread over the ranks";
  return {fmt::format("Placement {}: {}.", to_string(effective), why)};
}

Sentences reason_dcp(const Question& q) {
  const int dcp = q.w.layout.parallel.decode_context_parallel_size;
  if (dcp == 1) return {};
  return {reason_dimension(q, "decode_context_parallel_size", fmt::format("DCP {}", dcp),
                           "KV of a sequence is spread over the TP ranks instead of copied")};
}

/// What a dimension means for a plan, where its label and value do not say it.
struct Reason {
  std::string_view dimension;
  Sentences (*words)(const Question&);
};
constexpr Reason kReasons[] = {
    {"tensor_parallel_size", [](const Question& q) { return Sentences{reason_tp(q)}; }},
    {"data_parallel_size", reason_dp},
    {"replicas", reason_replicas},
    {"pipeline_parallel_size", reason_pp},
    {"pp_layer_partition", [](const Question&) { return Sentences{}; }},  // the stages say it
    {"enable_expert_parallel", reason_ep},
    {"expert_placement_strategy", reason_placement},
    {"decode_context_parallel_size", reason_dcp},
};

std::vector<std::string> reasons(const Question& q) {
  Sentences out;
  for (const auto& reason : kReasons)
    for (auto& sentence : reason.words(q)) out.push_back(std::move(sentence));
  for (const auto* d : rungs()) {
    const bool said =
        std::any_of(std::begin(kReasons), std::end(kReasons), [&](const Reason& r) { return r.dimension == d->name; });
    if (said || d->role == Role::total || at_default(*d, q.w.layout)) continue;
    const std::string name = fmt::format("{} {}", d->label, value_text(value_of(*d, q.w.layout)));
    out.push_back(has_curve(*d) ? reason_dimension(q, d->name, name, "chosen") : name + ".");
  }
  return out;
}

std::string binding(const Question& q) {
  const auto& e = q.w.estimate;
  std::string text;
  if (e.kv_utilisation > 0.95)
    text = fmt::format("KV cache: {} tokens an engine are full at {:.0f} running sequences",
                       with_commas(q.w.memory.kv_tokens), e.running_per_engine);
  else if (e.running_per_engine >= 0.98 * static_cast<double>(q.w.engine.max_num_seqs))
    text = fmt::format("max_num_seqs = {}", q.w.engine.max_num_seqs);
  else {
    for (const auto& slo : q.request.workload.slos)
      if (e.quantile_ms(slo.metric, slo.stat) > 0.93 * to_ms(slo.limit)) text = "the SLO " + to_string(slo);
    if (text.empty()) text = "step time";
  }
  const auto shares = step_shares(q.w, q.request.workload);
  return shares.empty() ? text : text + "; " + shares;
}

LadderStep ladder_step(const Question& q, const Layout& layout, std::string change) {
  LadderStep step{layout, std::move(change), std::nullopt, 0, ""};
  std::optional<Refusal> why;
  if (layout.gpus() > budget_gpus(q.request)) {
    step.note = fmt::format("needs {} GPUs", layout.gpus());
    return step;
  }
  if (auto plan = q.layouts(layout, &why)) {
    *plan = as_priced(q, std::move(*plan));
    step.estimate = plan->estimate;
    step.score = goal_score(q.free, layout, plan->estimate, budget_gpus(q.free));
    if (!plan->slos_kept) step.note = "misses " + join(plan->slos_missed, ", ");
  } else {
    step.note = why->message;
  }
  return step;
}

/// "TP 1 -> 2", "expert parallel on", "placement round_robin".
std::string change_text(const Dimension& d, const Layout& from, const Layout& to) {
  const auto value = value_of(d, to);
  if (std::holds_alternative<int>(value))
    return fmt::format("{} {} -> {}", d.label, value_text(value_of(d, from)), value_text(value));
  if (const auto* on = std::get_if<bool>(&value)) return fmt::format("{} {}", d.label, *on ? "on" : "off");
  if (const auto* word = std::get_if<std::string>(&value)) return fmt::format("{} {}", d.label, *word);
  return std::string(d.label);
}

/// Tensor parallel alone, the fewest GPUs that fit; else pipeline stages as well. What is given stays.
std::optional<Layout> simplest_layout(const Question& q) {
  const Layout& target = q.w.layout;
  Layout layout;
  layout.group = target.group;
  for (const auto* d : dimensions())
    if (d->role == Role::given) copy_value(*d, target, layout);
  for (int pp = 1; pp <= std::max(1, target.parallel.pipeline_parallel_size); ++pp)
    for (int tp = 1; tp <= budget_gpus(q.request); ++tp) {
      layout.parallel.tensor_parallel_size = tp;
      layout.parallel.pipeline_parallel_size = pp;
      if (layout.gpus() <= budget_gpus(q.request) && q.layouts(layout)) return layout;
    }
  return std::nullopt;
}

/// From the simplest plan to the winner, all at the winner's load.
std::vector<LadderStep> ladder(const Question& q) {
  std::vector<LadderStep> steps;
  auto layout = simplest_layout(q);
  if (!layout) return steps;
  steps.push_back(ladder_step(q, *layout, "the simplest plan that fits"));
  for (const auto* d : rungs()) {
    if (d->role == Role::total || same_value(*d, *layout, q.w.layout)) continue;
    auto change = change_text(*d, *layout, q.w.layout);
    copy_value(*d, q.w.layout, *layout);
    steps.push_back(ladder_step(q, *layout, std::move(change)));
  }
  double last = steps.front().score;
  for (std::size_t i = 1; i < steps.size(); ++i) {
    if (!steps[i].estimate) continue;
    if (steps[i].note.empty() && last > 0) steps[i].note = percent(steps[i].score / last);
    last = steps[i].score;
  }
  return steps;
}

/// Another way to use the GPUs, not the same with one GPU fewer.
bool another_shape(const Layout& a, const Layout& b) {
  const auto& all = dimensions();
  return std::any_of(all.begin(), all.end(),
                     [&](const Dimension* d) { return d->role == Role::shape && !same_value(*d, a, b); });
}

std::vector<CurvePoint> curves(const Question& q) {
  std::vector<CurvePoint> out;
  double best = 0;  // by the closed form, like the others
  for (const auto& b : q.answer.search.best_by)
    if (b.layout == q.w.layout) best = b.score;
  if (best <= 0) best = q.w.score;
  for (const auto& b : q.answer.search.best_by)
    out.push_back(
        {std::string(b.dimension), value_text(b.value), b.layout, b.estimate, best > 0 ? b.score / best : 0, ""});
  return out;
}

/// The best plan that keeps SLOs and rate. Where the closed form has the best clearly ahead and nothing can be missed
/// it is that one; else the simulator decides among the few that it cannot tell apart, and looks for the first that
/// keeps the limits. nullopt if none of the first few does.
std::optional<Plan> first_standing(const Question& q, const PlanRequest& request, const SearchRequest& s,
                                   const SearchResult& r) {
  constexpr std::size_t kClosest = 3, kTried = 5;
  constexpr double kTie = 0.95;
  if (r.plans.empty()) return std::nullopt;
  const auto tie = [&](std::size_t i) {
    return i < std::min(kClosest, r.plans.size()) && r.plans[i].score > kTie * r.plans.front().score;
  };
  const bool limits = s.workload.has_limits();
  if (!q.answer.simulated || (!limits && !tie(1))) return r.plans.front();
  std::optional<Plan> best;
  for (std::size_t i = 0; i < std::min(kTried, r.plans.size()) && (!best || tie(i)); ++i) {
    auto plan = simulated(request, s, r.plans[i], false);
    if (plan.slos_kept && (!best || better_plan(plan, *best, s.fewest_gpus))) best = std::move(plan);
  }
  return best;
}

/// Searches again with one thing changed: which plan wins then? nullopt if none stands.
std::optional<Flip> flip(const Question& q, const std::string& change,
                         const std::function<void(SearchRequest&)>& edit) {
  SearchRequest s = q.request;
  edit(s);
  const auto r = search(s);
  PlanRequest request = q.answer.request;
  request.workload = s.workload;
  const auto front = first_standing(q, request, s, r);
  if (!front) return std::nullopt;
  Flip flip{change, front->layout, front->layout == q.w.layout, 0};
  const auto stay = std::find_if(r.plans.begin(), r.plans.end(), [&](const Plan& p) { return p.layout == q.w.layout; });
  if (flip.same || stay == r.plans.end()) return flip;
  const Plan ours = front->simulated ? simulated(request, s, *stay, false) : *stay;
  if (!ours.slos_kept) return flip;
  if (ours.score > 0) flip.gain = front->score / ours.score - 1;
  return flip.gain > 0 ? flip : Flip{change, q.w.layout, true, 0};
}

std::vector<Flip> flips(const Question& q) {
  std::vector<std::pair<std::string, std::function<void(SearchRequest&)>>> changes;
  const auto again = [&](std::string change, std::function<void(SearchRequest&)> edit) {
    changes.emplace_back(std::move(change), std::move(edit));
  };
  const auto& w = q.request.workload;
  if (w.request_rate) {
    again("a quarter of the request rate",
          [](SearchRequest& s) { s.workload.request_rate = *s.workload.request_rate / 4; });
    again("twice the request rate", [](SearchRequest& s) { s.workload.request_rate = *s.workload.request_rate * 2; });
  } else if (!w.trace) {
    const int load = w.concurrency.value_or(std::max(1, static_cast<int>(q.w.estimate.concurrency)));
    for (const int c : {1, std::max(1, load / 8), load * 8})
      if (c != load)
        again(fmt::format("{} request{} in flight", c, c == 1 ? "" : "s"),
              [c](SearchRequest& s) { s.workload.concurrency = c; });
  }
  again("prompts four times as long", [](SearchRequest& s) {
    auto& l = s.workload.isl;
    l.a *= 4;
    if (l.kind == LengthDistribution::Kind::uniform) l.b *= 4;
    for (auto& point : l.points) point.second *= 4;
  });
  const auto scale_links = [](double factor) {
    return [factor](SearchRequest& s) {
      for (auto& g : s.groups)
        for (auto& n : g.cluster.nodes) {
          n.scale_up.bandwidth.value *= factor;
          n.network.bandwidth.value *= factor;
        }
    };
  };
  again("links an eighth as fast", scale_links(0.125));
  if (q.request.groups.front().cluster.nodes.size() > 1) again("links twice as fast", scale_links(2));
  std::vector<std::optional<Flip>> found(changes.size());
  parallel_for(changes.size(), q.answer.request.threads,
               [&](std::size_t i) { found[i] = flip(q, changes[i].first, changes[i].second); });
  std::vector<Flip> out;
  for (auto& f : found)
    if (f) out.push_back(std::move(*f));
  return out;
}

}  // namespace

std::vector<std::string> compare_plans(const PlanAnswer& answer, const Plan& w, const Plan& o) {
  std::vector<std::string> out;
  const double ratio = w.score > 0 ? o.score / w.score : 0;
  out.push_back(fmt::format("{}: {} in {} against {}", to_string(o.layout), percent(ratio),
                            goal_words(answer.request.goal), to_string(w.layout)));
  const auto line = [&](const char* name, double a, double b, const char* unit) {
    const auto number = [](double x) { return x >= 1000 ? with_commas(std::llround(x)) : fmt::format("{:.1f}", x); };
    if (a > 0 && std::abs(b / a - 1) > 0.01)
      out.push_back(fmt::format("{} {} {} instead of {} ({})", name, number(b), unit, number(a), percent(b / a)));
  };
  if (requests_in_flight(w) != requests_in_flight(o))
    out.push_back(fmt::format("{} requests in flight instead of {}", requests_in_flight(o), requests_in_flight(w)));
  line("output", w.estimate.output_tokens_per_second.mean, o.estimate.output_tokens_per_second.mean, "tokens/s");
  if (w.estimate.has_tpot) line("TPOT", w.estimate.tpot_ms.mean, o.estimate.tpot_ms.mean, "ms");
  line("TTFT", w.estimate.ttft_ms.mean, o.estimate.ttft_ms.mean, "ms");
  line("KV cache", static_cast<double>(w.memory.kv_tokens), static_cast<double>(o.memory.kv_tokens),
       "tokens an engine");
  if (w.layout.gpus() != o.layout.gpus())
    out.push_back(fmt::format("{} GPUs instead of {}", o.layout.gpus(), w.layout.gpus()));
  for (const auto& missed : o.slos_missed) out.push_back("misses " + missed);
  if (ratio > 0.98 && ratio < 1.02 && o.slos_kept) out.push_back("the two are within the error band of each other");
  return out;
}

Explanation explain(const PlanAnswer& answer, const SearchRequest& request) {
  const Plan& winner = answer.search.plans.front();
  LayoutEvaluator layouts(request);
  const Question q{answer, answer.request, request, winner, layouts, request};
  Explanation x;
  x.reasons = reasons(q);
  x.binding = binding(q);
  x.curves = curves(q);
  if (load_is_free(request.workload)) {
    // What a change buys is not to be another load.
    PlanRequest asked = answer.request;
    SearchRequest at_load = request;
    asked.workload.concurrency = at_load.workload.concurrency = x.ladder_load = std::max(1, requests_in_flight(winner));
    LayoutEvaluator loaded(at_load);
    x.ladder = ladder({answer, asked, at_load, winner, loaded, request});
  } else {
    x.ladder = ladder(q);
  }
  for (std::size_t i = 1; i < answer.search.plans.size() && !x.runner_up; ++i)
    if (another_shape(answer.search.plans[i].layout, q.w.layout)) x.runner_up = i;
  if (x.runner_up) x.runner_up_note = join(compare_plans(answer, q.w, answer.search.plans[*x.runner_up]), "; ");
  constexpr std::size_t kSearchesAffordable = 4000;  // layouts; larger spaces answer without what-if searches
  if (answer.search.layouts <= kSearchesAffordable) x.flips = flips(q);
  return x;
}

}  // namespace shardwise
