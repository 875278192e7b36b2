// Parts that several reports share.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "report/report.h"

namespace shardwise {

std::string slos_text(const std::vector<SloOutcome>& slos) {
  std::vector<std::string> texts;
  for (const auto& o : slos) texts.push_back(to_string(o.slo) + (o.met ? " kept: " : " missed: ") + value_text(o));
  return "SLOs, with the sampling error: " + join(texts, "; ") + ".";
}

std::string money_text(double amount) {
  return amount >= 1000  ? with_commas(std::llround(amount))
         : amount >= 0.1 ? fmt::format("{:.2f}", amount)
                         : fmt::format("{:.2g}", amount);
}

std::string cost_text(const Cost& c) {
  const std::string output = money_text(c.per_million_output_tokens), total = money_text(c.per_million_total_tokens);
  if (!c.usd)
    return fmt::format(
        "Cost: {} GPU-hours per million output tokens, {} per million tokens in and out (--price: in USD).", output,
        total);
  return fmt::format(
      "Cost: {} USD/h, {} USD a month of 730 h, {} USD per million output tokens, {} per million tokens in "
      "and out.",
      money_text(c.per_hour), money_text(c.per_month), output, total);
}

std::string interval_text(const Interval& v, int decimals) {
  return fmt::format("{:.{}f} [{:.{}f}, {:.{}f}]", v.mean, decimals, v.lo, decimals, v.hi, decimals);
}

std::string prediction_table(const ServingEstimate& e, const Style& style) {
  Table t;
  t.column("", Table::Align::left);
  t.column("mean [90 %]");
  t.column("p99");
  t.row({"TTFT ms", interval_text(e.ttft_ms, 0), fmt::format("{:.0f}", e.ttft_p99_ms.mean)});
  if (!e.has_tpot)
    t.row({"TPOT ms", "-", "-"});
  else
    t.row({"TPOT ms", interval_text(e.tpot_ms, 2), fmt::format("{:.2f}", e.tpot_p99_ms.mean)});
  t.row({"E2E ms", interval_text(e.e2e_ms, 0), fmt::format("{:.0f}", e.e2e_p99_ms.mean)});
  t.row({"output tokens/s", interval_text(e.output_tokens_per_second, 0), ""});
  t.row({"per GPU", interval_text(e.output_tokens_per_second_per_gpu, 0), ""});
  return t.text(style);
}

std::string model_line(const Model& m) {
  const auto billions = [](double n) {
    return n >= 99.5e9 ? fmt::format("{:.0f} B", n / 1e9)
           : n >= 1e9  ? fmt::format("{:.1f} B", n / 1e9)
                       : fmt::format("{:.0f} M", n / 1e6);
  };
  std::string text = billions(m.parameters()) + " parameters";
  if (m.is_moe())
    text += fmt::format(" ({} active), MoE of {} experts", billions(m.active_parameters()), m.num_experts());
  else
    text += ", dense";
  if (m.is_mla())
    text += ", MLA";
  else if (m.num_attention_heads() > 0)
    text += fmt::format(", {} heads ({} KV)", m.num_attention_heads(), m.num_key_value_heads());
  if (m.is_hybrid()) text += ", hybrid";
  text += fmt::format(", {} layers, ", m.num_hidden_layers());
  text += m.quantisation.quant_method.empty() ? to_string(m.dtype) : m.quantisation.quant_method;
  if (m.vision) text += ", vision";
  return text;
}

std::string model_head(const Model& m, const Style& style) {
  std::string out = style.bold(m.name) + "  " + model_line(m) + "\n";
  for (const auto& remark : m.remarks) out += "  " + style.dim(wrap(remark, style.width - 4, "  ")) + "\n";
  return out;
}

std::string workload_line(const Workload& w, Goal goal, const std::string& free_load) {
  std::string text;
  if (w.trace)
    text = fmt::format("trace of {} requests, mean {:.0f} tokens in, {:.0f} out",
                       with_commas(static_cast<std::int64_t>(w.trace->requests.size())), w.isl.mean(), w.osl.mean());
  else
    text = to_string(w.isl) + " tokens in, " + to_string(w.osl) + " out";
  if (w.concurrency)
    text += fmt::format(", {} in flight", *w.concurrency);
  else if (w.request_rate)
    text += fmt::format(", {} requests/s", number_text(*w.request_rate));
  else
    text += goal == Goal::latency ? ", one user" : ", " + free_load;
  for (const auto& slo : w.slos) text += ", " + to_string(slo);
  return text + "; goal: " + to_string(goal);
}

namespace {
std::string kv_cache_words(const MemoryPlan& m) {
  const auto interval = fmt::format("90 %: {:.1f} to {:.1f}", m.kv_gib.lo, m.kv_gib.hi);
  if (m.num_blocks > 0)
    return fmt::format("{} blocks, {} tokens an engine ({:.1f} GiB on the binding rank, {})", with_commas(m.num_blocks),
                       with_commas(m.kv_tokens), m.kv_gib.mean, interval);
  if (m.kv_gib.mean <= 0)
    return fmt::format("none, {:.1f} GiB are missing on the binding rank before it ({})", -m.kv_gib.mean, interval);
  if (m.kv_needed.value > 0)
    return fmt::format("{:.1f} GiB are left on the binding rank ({}), one request of {} tokens needs {:.1f}",
                       m.kv_gib.mean, interval, with_commas(m.max_model_len), to_gib(m.kv_needed));
  return fmt::format("{:.1f} GiB are left on the binding rank ({}), not laid out in blocks", m.kv_gib.mean, interval);
}
}  // namespace

std::string memory_text(const MemoryPlan& m, const Style& style) {
  std::string out;
  const double total = to_gib(m.gpu_total);
  const int width = std::clamp(style.width - 62, 20, 60);
  for (const auto& s : m.stages) {
    const auto& w = s.weights;
    const double experts = to_gib(w.routed_experts + w.shared_experts), weights = to_gib(w.total()) - experts;
    const double graphs = to_gib(s.cuda_graph), other = to_gib(s.non_torch), activation = to_gib(s.activation);
    const std::string name = m.stages.size() > 1
                                 ? fmt::format("stage {} (layers {}-{})", s.pp_rank, s.first_layer, s.last_layer - 1)
                                 : "each rank";
    out += fmt::format(
        "  {:<22} {} {:.1f} GiB{}\n", name,
        bar({{'W', weights}, {'E', experts}, {'A', activation}, {'G', graphs}, {'N', other}, {'K', to_gib(s.kv_cache)}},
            total, width),
        total, m.stages.size() > 1 && s.pp_rank == m.binding_stage ? "  <- binds" : "");
    out += style.dim(fmt::format(
               "  {:<22} W weights {:.2f}{}, A activations {:.2f}, G graphs {:.2f}, N other {:.2f}, K KV {:.2f}", "",
               weights, experts > 0 ? fmt::format(", E experts {:.2f}", experts) : "", activation, graphs, other,
               to_gib(s.kv_cache))) +
           "\n";
  }
  out += "  KV cache: " + kv_cache_words(m);
  if (m.kv_replication > 1.001) out += fmt::format("; each KV head is held {:.0f} times", m.kv_replication);
  return out + "\n";
}

std::string fit_text(const MemoryPlan& m, const Style& style, const FitLead& lead) {
  constexpr int kIndent = 4;
  const auto sentence = [&](const std::string& verdict, bool good, const std::string& rest) {
    const std::string text = wrap(verdict + rest, style.width - kIndent, "    ");
    return "  " + (good ? style.good(verdict) : style.bad(verdict)) + text.substr(verdict.size()) + "\n";
  };
  if (m.refusal)
    return sentence(lead.no + "does not fit", false,
                    " (rule " + std::string(m.refusal->rule->id) + "): " + m.refusal->message);
  const auto confidence = m.probability_fits >= 0.995
                              ? "more than 99 % confidence"
                              : fmt::format("{:.0f} % confidence", std::floor(100 * m.probability_fits));
  if (m.probability_fits >= 0.95) return sentence(lead.yes + "fits", true, " with " + confidence);
  return sentence(lead.perhaps + "fits only with " + confidence, false,
                  fmt::format(": the margin of {:.1f} GiB is within what is not known of activations and graphs (KV 90 "
                              "%: {:.1f} to {:.1f} GiB, {:.1f} needed)",
                              to_gib(m.margin()), m.kv_gib.lo, m.kv_gib.hi, to_gib(m.kv_needed)));
}

namespace {
std::string shell_quoted(const std::string& word) {
  if (!word.empty() &&
      word.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=./:,+@%") ==
          std::string::npos)
    return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}
}  // namespace

std::string launch_text(const std::vector<LaunchCommand>& launch, const Style& style) {
  std::string out;
  for (const auto& command : launch) {
    out += "  " +
           style.dim(wrap(fmt::format("# node {}{}", command.node, command.note.empty() ? "" : ": " + command.note),
                          style.width - 2, "  #   ")) +
           "\n";
    // A flag and its value stay together when the line is broken.
    std::vector<std::string> parts;
    for (const auto& [name, value] : command.env) parts.push_back(name + "=" + shell_quoted(value));
    bool flag_open = false, first = true;
    std::string serve;
    for (const auto& argument : command.argv) {
      if (first || (!argument.starts_with("-") && parts.size() == command.env.size())) {
        serve += (serve.empty() ? "" : " ") + shell_quoted(argument);
        first = false;
        continue;
      }
      if (!serve.empty()) parts.push_back(std::exchange(serve, ""));
      if (flag_open && !argument.starts_with("--"))
        parts.back() += " " + shell_quoted(argument);
      else
        parts.push_back(shell_quoted(argument));
      flag_open = argument.starts_with("--") || flag_open;
    }
    if (!serve.empty()) parts.push_back(serve);
    const auto room = static_cast<std::size_t>(std::max(60, style.width));
    std::size_t column = 2;
    out += "  ";
    for (std::size_t i = 0; i < parts.size(); ++i) {
      if (i > 0 && column + parts[i].size() + 3 > room) {
        out += " \\\n      ";
        column = 6;
      } else if (i > 0) {
        out += " ";
        ++column;
      }
      out += parts[i];
      column += parts[i].size();
    }
    out += "\n";
  }
  return out;
}

}  // namespace shardwise
