// Text of memory and estimate.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "report/report.h"

namespace shardwise {
namespace {

std::string head(const CheckRequest& r, const Style& style) {
  return model_head(*r.model, style) + style.bold(r.cluster.name) + "  " +
         fmt::format("{} x {} of {:.1f} GiB", r.cluster.total_gpus(), r.cluster.first_gpu().name,
                     to_gib(r.cluster.first_gpu().memory_total)) +
         "\n";
}

std::string refusal_text(const Refusal& r, const Style& style) {
  return "\n" + style.bad("vLLM refuses it") + " (rule " + std::string(r.rule->id) + "): " + r.message + "\n" +
         "  Instead: " + std::string(r.rule->instead) + "\n";
}

std::string operators(const std::vector<OperatorTime>& rows, const Style& style) {
  double total = 0;
  for (const auto& op : rows) total += op.time.value;
  Table t;
  t.column("operator", Table::Align::left);
  for (const char* name : {"ms", "share", "compute", "memory", "link", "host", "of roof"}) t.column(name);
  t.column("bound by", Table::Align::left);
  const auto ms = [](Seconds s) { return s.value > 0 ? fmt::format("{:.3f}", to_ms(s)) : std::string("-"); };
  // Share of the roofline: the time that the busier of peak and bandwidth would take.
  const auto roof = [](const OperatorTime& op) {
    const double least = std::max(op.compute.value, op.memory.value);
    return least > 0 && op.time.value > 0 ? fmt::format("{:.0f} %", 100 * std::min(1.0, least / op.time.value))
                                          : std::string("-");
  };
  for (const auto& op : rows)
    t.row({op.name, ms(op.time), fmt::format("{:.0f} %", total > 0 ? 100 * op.time.value / total : 0), ms(op.compute),
           ms(op.memory), ms(op.communication), ms(op.host), roof(op), op.bound});
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
  row("LoRA slots", [](const StageMemory& s) { return s.weights.lora; });
  row("offload buffers", [](const StageMemory& s) { return s.weights.offload_buffers; });
  row("in host memory", [](const StageMemory& s) { return -s.weights.offloaded; });
  row("activations", [](const StageMemory& s) { return s.activation; });
  row("CUDA graphs", [](const StageMemory& s) { return s.cuda_graph; });
  row("non-torch", [](const StageMemory& s) { return s.non_torch; });
  row("KV cache", [](const StageMemory& s) { return s.kv_cache; });
  out += t.text(style);
  const auto& m = a.memory;
  out += fit_text(m, style);
  const auto line = [&](const std::string& text) { out += "  " + wrap(text, style.width - 2, "    ") + "\n"; };
  const auto safe = a.safe_model_len.value_or(0);
  if (m.refusal) {
    std::vector<std::string> ways;
    if (a.longest_model_len && m.refusal->is("memory_max_model_len"))
      ways.push_back(fmt::format("--max-model-len {} ({} with 95 % confidence)", *a.longest_model_len, safe));
    for (const auto& x : a.what_ifs)
      if (!x.plan.refusal && x.plan.probability_fits >= 0.95) ways.push_back(x.change);
    if (!ways.empty()) line("fits only if changed: " + join(ways, "; or "));
  } else {
    const auto tokens = m.kv_tokens - m.max_model_len;
    line(fmt::format("margin: {:.1f} GiB ({} tokens) beyond one request of max_model_len{}", to_gib(m.margin()),
                     with_commas(tokens),
                     m.stages.size() > 1 ? fmt::format(", on the binding stage {}", m.binding_stage) : ""));
    line(fmt::format(
        "{:.2f} requests of {} tokens (max_model_len) at once an engine, {} of {:.0f} (the workload's mean)",
        m.max_concurrency, with_commas(m.max_model_len), with_commas(std::llround(a.concurrency_at_mean)),
        a.request.workload.isl.mean() + a.request.workload.osl.mean()));
    line(a.engine.auto_fit_max_model_len
             ? fmt::format("--max-model-len auto: {}, at least {} with 95 % confidence", with_commas(m.max_model_len),
                           with_commas(safe))
             : fmt::format("--max-model-len auto would be {}, at least {} with 95 % confidence",
                           with_commas(a.longest_model_len.value_or(0)), with_commas(safe)));
  }
  line(fmt::format(
      "gpu_memory_utilization is safe up to {:.2f}: {} KV tokens an engine ({:.1f} GiB are taken before vLLM starts)",
      a.recommended_gpu_memory_utilization, with_commas(a.kv_tokens_at_recommended),
      to_gib(m.gpu_total - m.free_at_start)));
  if (m.kv_replication > 1.001)
    line(
        fmt::format("every KV entry is held {:.0f} times inside the TP group; decode context parallel or data parallel "
                    "attention gives that back (below)",
                    m.kv_replication));
  if (a.what_ifs.empty()) return out;
  const int engines = a.engine.parallel.data_parallel_size;
  const int gpus = a.engine.parallel.gpus();
  out += heading(style, "What if");
  Table w;
  w.column("change", Table::Align::left);
  for (const char* name :
       {"GPUs", "KV GiB a rank", "KV tokens in all", "of max_model_len at once", "one user's ms a token", "fits"})
    w.column(name);
  const auto change_row = [&](const std::string& change, int used, const MemoryPlan& plan, std::int64_t kv_tokens,
                              double concurrency, Seconds token) {
    w.row({change, std::to_string(used), fmt::format("{:.1f}", plan.kv_gib.mean), with_commas(kv_tokens),
           fmt::format("{:.1f}", concurrency), fmt::format("{:.2f}", to_ms(token)),
           plan.refusal ? "no" : fmt::format("{:.0f} %", std::floor(100 * plan.probability_fits))});
  };
  change_row("as asked", gpus, m, m.kv_tokens * engines, m.max_concurrency * engines, a.token_time);
  for (const auto& x : a.what_ifs)
    change_row(x.change, x.engine.parallel.gpus(), x.plan, x.kv_tokens(), x.max_concurrency(), x.token_time);
  return out + w.text(style);
}

std::string estimate_text(const EstimateAnswer& a, const Style& style) {
  const auto& c = a.check;
  std::string out = head(c.request, style);
  for (const auto& w : c.warnings) out += "  " + style.accent("note: ") + wrap(w, style.width - 10, "        ") + "\n";
  if (c.refusal) return out + refusal_text(*c.refusal, style);
  if (!c.plan)
    return out + "\n" + style.bad("does not fit: ") +
           (c.memory && c.memory->refusal ? c.memory->refusal->message : "") + "\n";
  const auto& e = c.plan->estimate;
  out += fmt::format("  {}, {}; {:.0f} requests in flight\n", to_string(c.plan->layout),
                     workload_line(c.request.workload, c.request.goal, "at its best load"), e.concurrency);
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

}  // namespace shardwise
