#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "report/report.h"

namespace shardwise {
namespace {

std::string refused_when(std::string_view stage) {
  return stage == "model"    ? "while the model is built"
         : stage == "worker" ? "when a worker starts"
         : stage == "launch" ? "when engines are launched"
                             : "when the arguments are checked";
}

/// The one place that says whether it will run, and why not.
std::string verdict(const CheckAnswer& a, const Style& style) {
  if (a.memory)
    return fit_text(*a.memory, style, {"yes: accepted, and ", "perhaps: accepted, but ", "no: accepted, but "});
  if (!a.refusal) return "  " + style.good("yes") + "\n";
  const auto paragraph = [&](const std::string& text) {
    return "  " + wrap(text, std::max(40, style.width - 4), "    ") + "\n";
  };
  const auto& rule = *a.refusal->rule;
  return "  " + style.bad("no") + ", refused " + refused_when(rule.stage()) + " (rule " + std::string(rule.id) + ")\n" +
         paragraph(a.refusal->message) + paragraph("Instead: " + std::string(rule.instead)) +
         paragraph(style.dim("vllm/" + std::string(rule.where)));
}

}  // namespace

std::string check_text(const CheckAnswer& a, const Style& style) {
  const auto heading = [&](const std::string& text) { return "\n" + style.bold(text) + "\n"; };
  const auto paragraph = [&](const std::string& text) {
    return "  " + wrap(text, std::max(40, style.width - 4), "    ") + "\n";
  };
  std::string out = model_head(*a.request.model, style);
  out += style.bold(a.request.cluster.name) + "  " +
         fmt::format("{} x {}", a.request.cluster.total_gpus(), a.request.cluster.first_gpu().name) + "\n";

  out += heading("Will it run on vLLM " + to_string(a.request.vllm_version)) + verdict(a, style);
  for (const auto& w : a.warnings) out += "  " + style.accent("note: ") + wrap(w, style.width - 10, "        ") + "\n";

  if (!a.rows.empty()) {
    out += heading("What vLLM makes of it");
    Table t;
    t.column("", Table::Align::left);
    t.column("given", Table::Align::left);
    t.column("resolved", Table::Align::left);
    t.column("why", Table::Align::left);
    for (const auto& row : a.rows)
      t.row({row.name, row.given.empty() ? "-" : row.given, row.resolved, style.dim(row.why)});
    out += t.text(style);
    if (!a.not_used.empty()) out += paragraph(style.dim("changes nothing here: " + join(a.not_used, ", ")));
  }
  if (a.memory) {
    out += heading("Memory") + memory_text(*a.memory, style);
    if (!a.memory->refusal)
      out += fmt::format("  {:.2f} requests of {} tokens at once\n", a.memory->max_concurrency,
                         with_commas(a.memory->max_model_len));
  }
  if (a.plan) {
    const auto& e = a.plan->estimate;
    out += heading(fmt::format("What it will do ({}; {:.0f} in flight)",
                               workload_line(a.request.workload, a.request.goal, "at its best load"), a.load));
    out += prediction_table(e, style);
    if (!e.band_reason.empty()) out += paragraph(style.dim("90 % intervals: " + e.band_reason));
    if (a.plan->simulated)
      out += paragraph(style.dim(a.request.workload.as_benchmark
                                     ? "counted as vllm bench serve does, the opening burst and the end too"
                                     : "in steady state, without the opening; --as-benchmark counts all"));
    out += paragraph(cost_text(cost_of(a.request.cluster, {}, *a.plan, a.request.workload)));
    if (!a.plan->slos.empty()) out += paragraph(slos_text(a.plan->slos));
    for (const auto& missed : a.plan->slos_missed) out += "  " + style.bad("misses ") + missed + "\n";
  }
  if (!a.decode_step.empty()) {
    out += heading("Where a decode step's time goes");
    double total = 0;
    for (const auto& op : a.decode_step) total += op.time.value;
    Table t;
    t.column("operator", Table::Align::left);
    for (const char* name : {"ms", "share"}) t.column(name);
    t.column("bound by", Table::Align::left);
    for (const auto& op : a.decode_step)
      if (op.time.value > 0.005 * total)
        t.row({op.name, fmt::format("{:.3f}", to_ms(op.time)), fmt::format("{:.0f} %", 100 * op.time.value / total),
               op.bound});
    out += t.text(style);
  }
  if (a.refusal && a.changes.empty()) return out;
  out += heading("What would be better");
  if (a.changes.empty()) return out + "  nothing found: no single change gains 0.5 % or more\n";
  Table t;
  t.column("change", Table::Align::left);
  t.column("gain");
  t.column("then", Table::Align::left);
  for (const auto& c : a.changes) t.row({c.what, a.plan ? fmt::format("{:+.0f} %", 100 * c.gain) : "starts", c.note});
  return out + t.text(style);
}

}  // namespace shardwise
