// Text of memory, estimate and rules.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "parallel/rules.h"
#include "report/report.h"

namespace shardwise {
namespace {

std::string heading(const Style& style, const std::string& text) { return "\n" + style.bold(text) + "\n"; }

std::string head(const CheckRequest& r, const Style& style) {
  return style.bold(r.model->name) + "  " + model_line(*r.model) + "\n" + style.bold(r.cluster.name) + "  " +
         fmt::format("{} x {} of {:.1f} GiB", r.cluster.total_gpus(), r.cluster.first_gpu().name,
                     to_gib(r.cluster.first_gpu().memory_total)) +
         "\n";
}

std::string refusal_text(const Refusal& r, const Style& style) {
  return "\n" + style.bad("vLLM refuses it") + " (rule " + r.rule + "): " + r.message + "\n" +
         (r.instead.empty() ? "" : "  Instead: " + r.instead + "\n");
}

std::string operators(const std::vector<OperatorTime>& rows, const Style& style) {
  double total = 0;
  for (const auto& op : rows) total += op.time.value;
  Table t;
  t.column("operator", Table::Align::left);
  for (const char* name : {"ms", "share", "compute", "memory", "link", "host"}) t.column(name);
  t.column("bound by", Table::Align::left);
  const auto ms = [](Seconds s) { return s.value > 0 ? fmt::format("{:.3f}", to_ms(s)) : std::string("-"); };
  for (const auto& op : rows)
    t.row({op.name, ms(op.time), fmt::format("{:.0f} %", total > 0 ? 100 * op.time.value / total : 0), ms(op.compute),
           ms(op.memory), ms(op.communication), ms(op.host), op.bound});
  return t.text(style);
}

}  // namespace

std::string memory_answer_text(const MemoryAnswer& a, const Style& style) {
  std::string out = head(a.request, style);
  for (const auto& w : a.warnings) out += "  " + style.accent("note: ") + wrap(w, style.width - 10, "        ") + "\n";
  if (a.refusal) return out + refusal_text(*a.refusal, style);
  out += "  " + to_string(a.engine.parallel) + ", vLLM " + to_string(a.engine.vllm_version) +
         ", gpu_memory_utilization " + number_text(a.engine.gpu_memory_utilization) + "\n";
  out += heading(style, "Memory") + memory_text(a.memory, style);
  Table t;
  t.column("category", Table::Align::left);
  for (const auto& s : a.memory.stages)
    t.column(a.memory.stages.size() > 1 ? fmt::format("stage {} GiB", s.pp_rank) : "GiB a rank");
  const auto row = [&](const char* name, auto&& of) {
    std::vector<std::string> cells{name};
    bool any = false;
    for (const auto& s : a.memory.stages) {
      const Bytes b = of(s);
      any = any || b.value != 0;
      cells.push_back(fmt::format("{:.3f}", to_gib(b)));
    }
    if (any) t.row(std::move(cells));
  };
  row("embedding", [](const StageMemory& s) { return s.weights.embedding; });
  row("lm_head", [](const StageMemory& s) { return s.weights.lm_head; });
  row("attention", [](const StageMemory& s) { return s.weights.attention; });
  row("dense_mlp", [](const StageMemory& s) { return s.weights.dense_mlp; });
  row("routed_experts", [](const StageMemory& s) { return s.weights.routed_experts; });
  row("shared_experts", [](const StageMemory& s) { return s.weights.shared_experts; });
  row("router", [](const StageMemory& s) { return s.weights.router; });
  row("norm_other", [](const StageMemory& s) { return s.weights.norm_other; });
  row("vision", [](const StageMemory& s) { return s.weights.vision; });
  row("mtp", [](const StageMemory& s) { return s.weights.mtp; });
  row("buffers (rope tables ...)", [](const StageMemory& s) { return s.weights.buffers; });
  row("after loading", [](const StageMemory& s) { return s.weights.after_loading; });
  row("activations", [](const StageMemory& s) { return s.activation; });
  row("CUDA graphs", [](const StageMemory& s) { return s.cuda_graph; });
  row("non-torch", [](const StageMemory& s) { return s.non_torch; });
  row("KV cache", [](const StageMemory& s) { return s.kv_cache; });
  out += t.text(style);
  if (a.memory.refusal)
    out += "  " + style.bad("does not fit: ") + wrap(a.memory.refusal->message, style.width - 18, "    ") + "\n";
  out += fmt::format(
      "  binding stage {}; {:.2f} requests of {} tokens (max_model_len) at once, {:.1f} of {:.0f} tokens (the "
      "workload's mean); starts with {:.0f} % confidence\n",
      a.memory.binding_stage, a.memory.max_concurrency, with_commas(a.engine.max_model_len), a.concurrency_at_mean,
      a.request.workload.isl.mean() + a.request.workload.osl.mean(), 100 * a.memory.probability_fits);
  out += a.longest_model_len > 0
             ? fmt::format("  largest max_model_len that starts: {}\n", with_commas(a.longest_model_len))
             : "  no max_model_len starts\n";
  out += fmt::format("  highest safe gpu_memory_utilization: {:.2f}\n", a.recommended_gpu_memory_utilization);
  if (a.memory.kv_replication > 1.001)
    out += fmt::format(
        "  every KV entry is held {:.1f} times inside the TP group; decode context parallel or data parallel attention "
        "gives that back\n",
        a.memory.kv_replication);
  out += heading(style, "What if");
  Table w;
  w.column("change", Table::Align::left);
  for (const char* name : {"KV tokens an engine", "KV GiB", "gained GiB", "concurrency", "starts"}) w.column(name);
  for (const auto& x : a.what_ifs)
    w.row({x.change, with_commas(x.plan.kv_tokens), fmt::format("{:.1f}", x.plan.kv_gib.mean),
           fmt::format("{:+.1f}", x.kv_gib_gain),
           x.concurrency_gain > 0 ? fmt::format("x {:.2f}", x.concurrency_gain) : "-", x.plan.refusal ? "no" : "yes"});
  return out + w.text(style);
}

std::string estimate_text(const EstimateAnswer& a, const Style& style) {
  const auto& c = a.check;
  std::string out = head(c.request, style);
  if (c.refusal) return out + refusal_text(*c.refusal, style);
  if (!c.plan)
    return out + "\n" + style.bad("does not fit: ") +
           (c.memory && c.memory->refusal ? c.memory->refusal->message : "") + "\n";
  const auto& e = c.plan->estimate;
  out += fmt::format("  {}, {}; {:.0f} requests in flight\n", to_string(c.plan->layout),
                     workload_line(c.request.workload, c.request.goal), e.concurrency);
  out += heading(style, "Serving");
  out += prediction_table(e, style) + "  " + style.dim("90 % intervals: " + e.band_reason) + "\n";
  out += heading(
      style, fmt::format("A decode step: {:.0f} sequences, {:.0f} tokens of context each, {:.3f} ms",
                         a.decode.decode_seqs, a.decode.decode_context / a.decode.decode_seqs, to_ms(a.decode_time)));
  out += operators(a.decode_step, style);
  out += heading(style, fmt::format("A prefill step: one chunk of {:.0f} tokens, {:.3f} ms", a.prefill.prefill_tokens,
                                    to_ms(a.prefill_time)));
  out += operators(a.prefill_step, style);
  out += heading(style, "One per cent more of it changes the decode step by");
  Table s;
  s.column("", Table::Align::left);
  s.column("");
  for (const auto& x : a.sensitivities) s.row({x.of, fmt::format("{:+.2f} %", x.elasticity)});
  return out + s.text(style);
}

std::string rules_text(const std::string& id, const Style& style) {
  std::string out;
  if (id.empty()) {
    Table t;
    t.column("rule", Table::Align::left);
    t.column("stage", Table::Align::left);
    t.column("vLLM", Table::Align::left);
    t.column("text", Table::Align::left);
    for (const auto& r : rules())
      t.row({std::string(r.id), std::string(r.stage),
             r.until.major_ < 99  ? to_string(r.since) + " to before " + to_string(r.until)
             : r.since.minor_ > 0 ? "from " + to_string(r.since)
                                  : "all",
             shorten(std::string(r.text), style.width - 70)});
    return t.text(style, "");
  }
  for (const auto& r : rules()) {
    if (r.id != id) continue;
    out += style.bold(std::string(r.id)) + fmt::format(" ({})\n  {}\n  instead: {}\n  vllm/{}\n", r.stage, r.text,
                                                       r.instead.empty() ? "-" : r.instead, r.where);
    if (r.since.minor_ > 0 || r.until.major_ < 99)
      out += fmt::format("  versions: {}{}\n", r.since.minor_ > 0 ? "from " + to_string(r.since) : "all",
                         r.until.major_ < 99 ? " to before " + to_string(r.until) : "");
  }
  return out;
}

}  // namespace shardwise
