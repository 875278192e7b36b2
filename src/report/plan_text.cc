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

std::string plan_table(const std::vector<Plan>& plans, std::size_t count, const Style& style) {
  Table t;
  t.column("#");
  t.column("plan", Table::Align::left);
  for (const char* name : {"GPUs", "in flight", "tokens/s", "per GPU", "per user", "TPOT ms [90 %]", "TTFT ms [90 %]"})
    t.column(name);
  const bool rates = std::any_of(plans.begin(), plans.end(), [](const Plan& p) { return p.max_request_rate; });
  if (rates) t.column("max rate/s");
  for (const char* name : {"KV tokens", "KV used"}) t.column(name);
  std::size_t listed = 0;  // the same shape with other numbers of copies is one line of the table: its best
  for (std::size_t i = 0; i < plans.size() && listed < count; ++i) {
    const auto& p = plans[i];
    if (std::any_of(plans.begin(), plans.begin() + static_cast<std::ptrdiff_t>(i),
                    [&](const Plan& q) { return same_but_copies(p.layout, q.layout); }))
      continue;
    ++listed;
    const auto& e = p.estimate;
    const std::string name = to_string(p.layout);
    std::vector<std::string> cells = {std::to_string(listed),
                                      i == 0 ? style.good(name) : name,
                                      std::to_string(p.layout.gpus()),
                                      fmt::format("{:.0f}", e.concurrency),
                                      with_commas(std::llround(e.output_tokens_per_second.mean)),
                                      fmt::format("{:.0f}", e.output_tokens_per_second_per_gpu.mean),
                                      fmt::format("{:.1f}", e.tpot_ms.mean > 0 ? 1e3 / e.tpot_ms.mean : 0),
                                      interval_text(e.tpot_ms, e.tpot_ms.mean < 10 ? 2 : 1),
                                      interval_text(e.ttft_ms, 0)};
    if (rates) cells.push_back(p.max_request_rate ? fmt::format("{:.3g}", *p.max_request_rate) : "-");
    cells.push_back(with_commas(p.memory.kv_tokens));
    cells.push_back(fmt::format("{:.0f} %", 100 * e.kv_utilisation));
    t.row(std::move(cells));
  }
  return t.text(style);
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
  return heading(style,
                 "Rejected (" + with_commas(static_cast<std::int64_t>(a.search.layouts)) + " layouts looked at)") +
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
  std::string text = fmt::format("GPUs = TP {} x PP {}", c.tensor_parallel_size, c.pipeline_parallel_size);
  if (c.prefill_context_parallel_size > 1) text += fmt::format(" x PCP {}", c.prefill_context_parallel_size);
  text += fmt::format(" x DP {}", c.data_parallel_size);
  if (p.layout.replicas > 1) text += fmt::format(" x {} replicas", p.layout.replicas);
  text += fmt::format(" = {} of {}", p.layout.gpus(), available);
  if (c.enable_expert_parallel)
    text += fmt::format(". EP = TP x PCP x DP = {}, derived: it adds no GPUs. Effective placement: {} (asked for: {})",
                        c.expert_parallel_size(), to_string(p.engine.effective_placement),
                        to_string(c.expert_placement_strategy));
  return text + ".";
}

std::string nothing(const PlanAnswer& a, const Style& style) {
  std::string out = heading(style, style.bad("No plan")) + paragraph(style, a.no_reason + ".");
  if (a.nearest.empty()) return out;
  Table t;
  t.column("what would", Table::Align::left);
  t.column("stands", Table::Align::left);
  t.column("", Table::Align::left);
  for (const auto& c : a.nearest) t.row({c.what, c.fits ? style.good("yes") : "no", shorten(c.note, style.width - 52)});
  return out + heading(style, "The nearest changes") + t.text(style);
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
           e ? fmt::format("{:.1f}", e->tpot_ms.mean) : "-", e ? fmt::format("{:.0f}", e->ttft_ms.mean) : "-",
           shorten(s.note, style.width - 86)});
  }
  return heading(style, "From the simplest plan to this one") + t.text(style);
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
  out += wrap(workload_line(r.workload, r.goal), style.width - 2, "  ") + "\n";
  for (const auto& w : a.warnings) out += style.accent("note: ") + wrap(w, style.width - 8, "      ") + "\n";
  if (!a.found()) return out + nothing(a, style) + rejections(a, style) + assumptions(a, style);

  const auto& w = a.search.plans.front();
  const auto& x = a.explanation;
  out += heading(style,
                 fmt::format("Plans ({} stand{})", with_commas(static_cast<std::int64_t>(a.search.standing)),
                             a.simulated ? fmt::format("; the best {} simulated, {}", a.search.plans.size(),
                                                       r.workload.as_benchmark ? "as a benchmark" : "in steady state")
                                         : ""));
  out += plan_table(a.search.plans, shown_plans, style);
  if (w.max_request_rate)
    out += paragraph(style, style.dim("max rate: the highest rate, by simulation, that keeps the SLOs, of the plans "
                                      "that were simulated"));
  if (!w.slos.empty()) out += paragraph(style, slos_text(w.slos));
  if (!w.estimate.band_reason.empty()) out += paragraph(style, style.dim("90 % intervals: " + w.estimate.band_reason));
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
