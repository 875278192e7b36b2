#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "parallel/dimensions.h"
#include "report/report.h"

namespace shardwise {

std::string why_not_text(const WhyNot& a, const Style& style) {
  std::string out = "\n" + style.bold("Why not " + a.question) + "\n";
  if (!a.best) out += "  No such plan stands.\n";
  for (const auto& line : a.words) out += "  " + wrap(line + ".", std::max(40, style.width - 4), "    ") + "\n";
  return out;
}

namespace {

/// A column of the plans' table. `rank`: what is dropped last where the terminal is narrow.
struct PlanColumn {
  std::string_view name;
  std::size_t rank;
  std::string (*cell)(const Plan& plan, const Cost& cost);
};

/// What no plan has where no request has a second token.
constexpr const char* kNone = "-";

/// Narrow enough for every terminal: without intervals.
constexpr std::size_t kNeededRank = 5;
constexpr PlanColumn kTpot = {"TPOT ms", 1, [](const Plan& p, const Cost&) {
                                const double ms = p.estimate.tpot_ms.mean;
                                return p.estimate.has_tpot ? fmt::format("{:.{}f}", ms, ms < 10 ? 2 : 1) : kNone;
                              }};
constexpr PlanColumn kTtft = {
    "TTFT ms", 2, [](const Plan& p, const Cost&) { return fmt::format("{:.0f}", p.estimate.ttft_ms.mean); }};

constexpr PlanColumn kPlanColumns[] = {
    {"GPUs", 4, [](const Plan& p, const Cost&) { return std::to_string(p.layout.gpus()); }},
    {"in flight", 5, [](const Plan& p, const Cost&) { return fmt::format("{:.0f}", p.estimate.concurrency); }},
    {"tokens/s", 3,
     [](const Plan& p, const Cost&) { return with_commas(std::llround(p.estimate.output_tokens_per_second.mean)); }},
    {"per GPU", 8,
     [](const Plan& p, const Cost&) {
       return fmt::format("{:.0f}", p.estimate.output_tokens_per_second_per_gpu.mean);
     }},
    {"per user", 9,
     [](const Plan& p, const Cost&) {
       return p.estimate.has_tpot ? fmt::format("{:.1f}", 1e3 / p.estimate.tpot_ms.mean) : kNone;
     }},
    {"TPOT ms [90 %]", 1,
     [](const Plan& p, const Cost&) {
       const auto& e = p.estimate;
       return e.has_tpot ? interval_text(e.tpot_ms, e.tpot_ms.mean < 10 ? 2 : 1) : kNone;
     }},
    {"TTFT ms [90 %]", 2, [](const Plan& p, const Cost&) { return interval_text(p.estimate.ttft_ms, 0); }},
    {"max rate/s", 7,
     [](const Plan& p, const Cost&) {
       return p.max_request_rate ? fmt::format("{:.3g}", *p.max_request_rate) : std::string();
     }},
    {"USD/Mtok out", 6,
     [](const Plan&, const Cost& c) { return c.usd ? money_text(c.per_million_output_tokens) : std::string(); }},
    {"KV tokens", 10, [](const Plan& p, const Cost&) { return with_commas(p.memory.kv_tokens); }},
    {"KV used", 11,
     [](const Plan& p, const Cost&) { return fmt::format("{:.0f} %", 100 * p.estimate.kv_utilisation); }},
    {"GPU-h/Mtok out", 12,
     [](const Plan&, const Cost& c) { return c.usd ? std::string() : money_text(c.per_million_output_tokens); }},
};

/// The listed plans: the same shape with other numbers of copies is one line, its best.
std::vector<const Plan*> listed_plans(const std::vector<Plan>& plans, std::size_t count) {
  std::vector<const Plan*> out;
  for (const auto& p : plans)
    if (out.size() < count &&
        std::none_of(out.begin(), out.end(), [&](const Plan* q) { return same_but_copies(p.layout, q->layout); }))
      out.push_back(&p);
  return out;
}

Table plans_as_table(const std::vector<const Plan*>& plans, const std::vector<Cost>& costs, const Style& style,
                     bool intervals) {
  const auto says_something = [&](const PlanColumn& c) {
    for (std::size_t i = 0; i < plans.size(); ++i)
      if (!c.cell(*plans[i], costs[i]).empty()) return true;
    return false;
  };
  std::vector<PlanColumn> columns;
  for (const auto& c : kPlanColumns)
    if (says_something(c))
      columns.push_back(intervals ? c : c.rank == kTpot.rank ? kTpot : c.rank == kTtft.rank ? kTtft : c);
  Table t;
  t.column("#");
  t.column("plan", Table::Align::left);
  for (const auto& c : columns) t.column(std::string(c.name), Table::Align::right, c.rank);
  for (std::size_t i = 0; i < plans.size(); ++i) {
    const std::string name = to_string(plans[i]->layout);
    std::vector<std::string> cells = {std::to_string(i + 1), i == 0 ? style.good(name) : name};
    for (const auto& c : columns) {
      const auto cell = c.cell(*plans[i], costs[i]);
      cells.push_back(cell.empty() ? "-" : cell);
    }
    t.row(std::move(cells));
  }
  return t;
}

std::string plan_table(const std::vector<const Plan*>& plans, const PlanRequest& r, const Style& style) {
  std::vector<Cost> costs;
  for (const auto* p : plans) costs.push_back(cost_of(r.cluster, r.gpus_taken, *p, r.workload));
  const auto whole = plans_as_table(plans, costs, style, true);
  if (whole.dropped_rank(style).value_or(kNeededRank + 1) > kNeededRank) return whole.text(style);
  return plans_as_table(plans, costs, style, false).text(style);
}

/// Where no load is given the plans are not at the same one.
std::string loads_differ(const std::vector<const Plan*>& plans, const Workload& w, const Style& style) {
  const auto same = [&](const Plan* p) {
    return std::lround(p->estimate.concurrency) == std::lround(plans.front()->estimate.concurrency);
  };
  if (w.concurrency || w.request_rate || w.trace || std::all_of(plans.begin(), plans.end(), same)) return "";
  return paragraph(style,
                   style.dim(fmt::format("each row is at the load that is best for it (in flight); --concurrency "
                                         "{:.0f} compares all at the first one's",
                                         plans.front()->estimate.concurrency)));
}

std::string rejections(const PlanAnswer& a, const Style& style) {
  if (a.search.rejected.empty()) return "";
  Table t;
  t.column("layouts");
  t.column("rule", Table::Align::left);
  t.column("for example", Table::Align::left);
  for (std::size_t i = 0; i < a.search.rejected.size() && i < 8; ++i) {
    const auto& r = a.search.rejected[i];
    t.row({std::to_string(r.count), std::string(r.rule->id), shorten(r.example, style.width - 42)});
  }
  const auto title =
      heading(style, "Rejected (" + with_commas(static_cast<std::int64_t>(a.search.layouts)) + " layouts looked at)");
  if (a.search.copies_step <= 0) return title + t.text(style);
  return title +
         paragraph(style,
                   fmt::format("There are more: numbers of copies were tried in steps of {:.0f} %, and one by one "
                               "about the best plans. --budget 10 looks at ten times as many.",
                               100 * a.search.copies_step)) +
         t.text(style);
}

std::string assumptions(const PlanAnswer& a, const Style& style) {
  Table t;
  for (int i = 0; i < 3; ++i) t.column("", Table::Align::left);
  for (const auto& x : a.assumptions) t.row({x.name, x.value, style.dim(x.why)});
  return heading(style, "Assumed") + t.text(style);
}

std::string arithmetic(const Plan& p, int available) {
  const auto& c = p.layout.parallel;
  std::string text = fmt::format("GPUs = {} = {} of {}", gpu_factors(p.layout), p.layout.gpus(), available);
  if (c.enable_expert_parallel)
    text += fmt::format(". EP = TP x PCP x DP = {}, derived: it adds no GPUs. Effective placement: {} (asked for: {})",
                        c.expert_parallel_size(), to_string(p.engine.effective_placement),
                        to_string(c.expert_placement_strategy));
  return text + ".";
}

/// What the nearest plans reach.
std::string near_misses(const PlanAnswer& a, const Style& style) {
  if (a.search.near_misses.empty()) return "";
  Table t;
  t.column("plan", Table::Align::left);
  for (const char* name : {"GPUs", "in flight", "tokens/s", "TPOT ms", "TTFT ms"}) t.column(name);
  t.column("misses", Table::Align::left);
  constexpr std::size_t kShown = 5;
  for (std::size_t i = 0; i < a.search.near_misses.size() && i < kShown; ++i) {
    const auto& p = a.search.near_misses[i];
    t.row({to_string(p.layout), std::to_string(p.layout.gpus()), fmt::format("{:.0f}", p.estimate.concurrency),
           with_commas(std::llround(p.estimate.output_tokens_per_second.mean)), kTpot.cell(p, {}), kTtft.cell(p, {}),
           join(p.slos_missed, "; ")});
  }
  return heading(style, "The nearest plans") + t.text(style);
}

std::string nothing(const PlanAnswer& a, const Style& style) {
  const bool limits = !a.search.near_misses.empty();
  std::string out = heading(style, style.bad("No plan")) + paragraph(style, a.no_reason + ".") + near_misses(a, style);
  if (a.nearest.empty())
    return limits ? out + paragraph(style,
                                    "No single change that was tried does: other GPUs, more of them, fewer bits, a "
                                    "lower load, a looser limit.")
                  : out;
  Table t;
  t.column("change", Table::Align::left);
  if (!limits) t.column("enough", Table::Align::left);
  t.column("then", Table::Align::left);
  for (const auto& c : a.nearest) {
    std::vector<std::string> cells = {c.what, c.note};
    if (!limits) cells.insert(cells.begin() + 1, c.fits ? style.good("yes") : "no");
    t.row(std::move(cells));
  }
  return out + heading(style, limits ? "Any one of these is enough" : "The nearest changes") + t.text(style);
}

std::string flips(const Explanation& x, const Style& style) {
  if (x.flips.empty()) return "";
  Table t;
  t.column("", Table::Align::left);
  t.column("", Table::Align::left);
  for (const auto& f : x.flips) {
    std::string text = f.same ? "the same plan" : to_string(f.winner);
    if (!f.same && f.gain > 0) text += fmt::format(", {:.0f} % better than the plan above would then be", 100 * f.gain);
    t.row({f.change, text});
  }
  return heading(style, "What would flip the choice") + t.text(style);
}

std::string ladder(const Explanation& x, const Style& style) {
  if (x.ladder.size() < 2) return "";
  Table t;
  t.column("", Table::Align::left);
  t.column("", Table::Align::left);
  for (const char* name : {"GPUs", "tokens/s", "TPOT ms", "TTFT ms"}) t.column(name);
  t.column("buys", Table::Align::left);
  for (const auto& s : x.ladder) {
    const auto& e = s.estimate;
    t.row({s.change, to_string(s.layout), std::to_string(s.layout.gpus()),
           e ? with_commas(std::llround(e->output_tokens_per_second.mean)) : "-",
           e && e->has_tpot ? fmt::format("{:.1f}", e->tpot_ms.mean) : kNone,
           e ? fmt::format("{:.0f}", e->ttft_ms.mean) : "-", shorten(s.note, style.width - 86)});
  }
  const auto load = x.ladder_load ? fmt::format(", each with {} in flight", *x.ladder_load) : std::string();
  return heading(style, "From the simplest plan to this one" + load) + t.text(style);
}

}  // namespace

std::string plan_text(const PlanAnswer& a, const Style& style, std::size_t shown_plans) {
  const auto& r = a.request;
  std::string out = model_head(*r.model, style);
  out += style.bold(r.cluster.name) + "  " +
         (r.cluster.homogeneous() ? fmt::format("{} x {} of {:.1f} GiB", r.cluster.total_gpus(),
                                                r.cluster.first_gpu().name, to_gib(r.cluster.first_gpu().memory_total))
                                  : fmt::format("{} GPUs", r.cluster.total_gpus())) +
         "\n";
  out += wrap(workload_line(r.workload, r.goal, "each plan at its best load"), style.width - 2, "  ") + "\n";
  for (const auto& w : a.warnings) out += style.accent("note: ") + wrap(w, style.width - 8, "      ") + "\n";
  if (!a.found()) return out + nothing(a, style) + rejections(a, style) + assumptions(a, style);

  const auto& w = a.search.plans.front();
  const auto& x = a.explanation;
  out += heading(style,
                 fmt::format("Plans ({} stand{})", with_commas(static_cast<std::int64_t>(a.search.standing)),
                             a.simulated ? fmt::format("; the best {} simulated, {}", a.search.plans.size(),
                                                       r.workload.as_benchmark ? "as a benchmark" : "in steady state")
                                         : ""));
  const auto listed = listed_plans(a.search.plans, shown_plans);
  out += plan_table(listed, r, style) + loads_differ(listed, r.workload, style);
  if (w.max_request_rate)
    out += paragraph(style, style.dim("max rate: the highest rate, by simulation, that keeps the SLOs, of the plans "
                                      "that were simulated"));
  if (!w.slos.empty()) out += paragraph(style, slos_text(w.slos));
  if (!w.estimate.band_reason.empty()) out += paragraph(style, style.dim("90 % intervals: " + w.estimate.band_reason));
  out += paragraph(style, cost_text(cost_of(r.cluster, r.gpus_taken, w, r.workload)));
  out += heading(style, "Why " + to_string(w.layout));
  for (const auto& reason : x.reasons) out += paragraph(style, reason);
  if (!x.binding.empty()) out += paragraph(style, "Held by: " + x.binding + ".");
  if (x.runner_up) out += paragraph(style, "Runner-up: " + x.runner_up_note + ".");
  out += flips(x, style) + ladder(x, style);
  out += heading(style, "Memory") + memory_text(w.memory, style);
  out += fmt::format(
      "  {:.1f} requests of {} tokens (max_model_len), {:.1f} of the workload's mean length at once an engine\n",
      w.memory.max_concurrency, with_commas(w.engine.max_model_len),
      w.memory.concurrency_at(r.workload.isl.mean() + r.workload.osl.mean()));
  out += fit_text(w.memory, style);
  out += heading(style, "GPUs") + paragraph(style, arithmetic(w, r.cluster.total_gpus()));
  out += heading(style, "Launch") + launch_text(a.launch, style);
  return out + rejections(a, style) + assumptions(a, style);
}

}  // namespace shardwise
