// Text of simulate: percentiles, throughput, engines, timeline and CDFs.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "report/report.h"

namespace shardwise {
namespace {

constexpr const char* kLevels[] = {" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
constexpr std::size_t kEnginesListed = 16;

std::string wide_paragraph(const Style& style, const std::string& text) {
  return "  " + wrap(text, style.width - 2, "    ") + "\n";
}

/// Milliseconds with three figures or whole ones: 0.123, 12.3, 1,234.
std::string ms(double seconds) {
  const double v = 1e3 * seconds;
  if (v >= 1000) return with_commas(std::llround(v));
  return fmt::format("{:.{}f}", v, v >= 100 ? 0 : v >= 10 ? 1 : 2);
}

std::string percent(double share) { return fmt::format("{:.1f} %", 100 * share); }

/// One character a value, its height in eighths of `top`; a value above 0 is never blank.
std::string spark(const std::vector<double>& values, double top) {
  std::string line;
  for (const double v : values) {
    const int eighths = top > 0 ? static_cast<int>(std::lround(8 * v / top)) : 0;
    line += kLevels[std::clamp(eighths, v > 0 ? 1 : 0, 8)];
  }
  return line;
}

/// What is simulated, in one line: layout, replicas, how requests are spread, load.
std::string question(const SimulateAnswer& a) {
  const auto& r = a.request;
  std::string text;
  if (a.prefill)
    text += fmt::format("{}{} to prefill, ", r.prefill->replicas > 1 ? fmt::format("{} x ", r.prefill->replicas) : "",
                        to_string(a.prefill->plan->layout));
  if (r.replicas > 1) text += fmt::format("{} x ", r.replicas);
  text += to_string(a.check.plan->layout);
  if (a.prefill) text += " to decode";
  text += " on " + r.command.cluster.name;
  if (r.replicas > 1)
    text += std::string(", ") +
            (r.routing == ReplicaRouting::round_robin    ? "round robin"
             : r.routing == ReplicaRouting::least_loaded ? "least loaded"
                                                         : "prefix aware") +
            " routing";
  const auto& w = a.workload;
  text += "; " + (w.trace ? fmt::format("trace of {} requests",
                                        with_commas(static_cast<std::int64_t>(w.trace->requests.size())))
                          : to_string(w.isl) + " tokens in, " + to_string(w.osl) + " out");
  if (w.turns > 1) text += fmt::format(", sessions of {} turns", w.turns);
  if (w.prefix_tokens)
    text += fmt::format(", {} tokens shared", with_commas(*w.prefix_tokens));
  else if (w.prefix_share > 0 && !w.trace)
    text += fmt::format(", {:.0f} % shared", 100 * w.prefix_share);
  if (a.max_rate) return text;
  if (w.ramp_up)
    text += fmt::format(", {} to {} requests/s", number_text(w.ramp_up->start_rps), number_text(w.ramp_up->end_rps));
  else if (w.request_rate)
    text += fmt::format(", {:.3g} requests/s", *w.request_rate);
  else if (w.arrivals == Arrivals::burst)
    text += ", all at once";
  if (w.concurrency) text += fmt::format(", {} in flight", with_commas(*w.concurrency));
  return text;
}

std::string latencies(const SimulationResult& r, const Style& style) {
  Table t;
  t.column("ms", Table::Align::left);
  for (const char* name : {"mean", "90 %", "median", "p90", "p95", "p99", "max"}) t.column(name);
  const auto row = [&](const char* name, const LatencySummary& s) {
    if (s.count == 0) return;
    t.row({name, ms(s.mean), s.mean_half_width.value_or(0) > 0 ? "+-" + ms(*s.mean_half_width) : "", ms(s.median),
           ms(s.p90), ms(s.p95), ms(s.p99), ms(s.max)});
  };
  row("TTFT", r.ttft);
  row("TPOT", r.tpot);
  row("ITL", r.itl);
  row("E2E", r.e2e);
  row("queue", r.queue);
  return t.text(style);
}

std::string rates(const SimulationResult& r, const Style& style) {
  std::string out = wide_paragraph(
      style, fmt::format("{:.2f} requests/s, {} output tokens/s{}, {} tokens/s in all; {:.1f} requests in flight",
                         r.request_throughput, with_commas(std::llround(r.output_throughput)),
                         r.output_throughput_half_width.value_or(0) > 0
                             ? " (+-" + with_commas(std::llround(*r.output_throughput_half_width)) + ")"
                             : "",
                         with_commas(std::llround(r.total_token_throughput)), r.mean_concurrency));
  double kv = 0;
  for (const auto& e : r.engines) kv = std::max(kv, e.max_kv_use);
  std::string more = fmt::format("{} preemptions; KV cache at most {} full", with_commas(r.preemptions), percent(kv));
  if (r.prefix_hit_rate > 0)
    more += fmt::format("; prefix hits {} of the tokens looked up", percent(r.prefix_hit_rate));
  if (r.engines.size() > 1) more += fmt::format("; busiest engine {:+.1f} % over the mean", 100 * r.engine_skew);
  out += wide_paragraph(style, more);
  for (const auto& slo : r.slos)
    out += fmt::format("  {} {}: {} ms\n", slo.met ? style.good("keeps") : style.bad("misses"), to_string(slo.slo),
                       ms(slo.value));
  if (!r.slos.empty())
    out +=
        fmt::format("  goodput {:.2f} requests/s: {} keep every limit\n", r.request_goodput, percent(r.goodput_share));
  return out;
}

std::string engines(const SimulationResult& r, const Style& style) {
  if (r.engines.size() < 2) return "";
  bool dummies = false, hits = false;
  std::size_t prefills = 0;  // they come first
  for (const auto& e : r.engines)
    dummies |= e.dummy_steps > 0, hits |= e.prefix_hit_tokens > 0, prefills += e.prefill_only;
  Table t;
  t.column("engine", Table::Align::left);
  for (const char* name :
       {"requests", "tokens out", "steps", "busy", "running", "waiting", "KV mean", "KV max", "preempted"})
    t.column(name);
  if (dummies) t.column("dummy steps");
  if (hits) t.column("prefix hits");
  for (std::size_t i = 0; i < std::min(r.engines.size(), kEnginesListed); ++i) {
    const auto& e = r.engines[i];
    std::vector<std::string> cells = {e.prefill_only ? fmt::format("prefill {}", i)
                                      : prefills > 0 ? fmt::format("decode {}", i - prefills)
                                                     : std::to_string(i),
                                      with_commas(e.requests),
                                      with_commas(e.output_tokens),
                                      with_commas(e.steps),
                                      percent(e.busy),
                                      fmt::format("{:.1f}", e.mean_running),
                                      fmt::format("{:.1f}", e.mean_waiting),
                                      percent(e.mean_kv_use),
                                      percent(e.max_kv_use),
                                      with_commas(e.preemptions)};
    if (dummies) cells.push_back(with_commas(e.dummy_steps));
    if (hits)
      cells.push_back(percent(
          e.prompt_tokens > 0 ? static_cast<double>(e.prefix_hit_tokens) / static_cast<double>(e.prompt_tokens) : 0));
    t.row(std::move(cells));
  }
  std::string out = heading(style, "Engines") + t.text(style);
  if (r.engines.size() > kEnginesListed)
    out += fmt::format("  ... and {} more (--json has all)\n", r.engines.size() - kEnginesListed);
  return out;
}

std::string timeline(const SimulationResult& r, const Style& style) {
  const auto width = static_cast<std::size_t>(std::clamp(style.width - 32, 20, 120));
  std::string out =
      heading(style, fmt::format("Timeline, {:.1f} s", r.timeline.empty() ? 0 : r.timeline.back().seconds));
  const auto row = [&](const char* name, const auto& of, const auto& shown) {
    // A column is the mean of the points that it covers.
    std::vector<double> columns(std::min(width, std::max<std::size_t>(1, r.timeline.size())));
    double top = 0;
    for (std::size_t c = 0; c < columns.size() && !r.timeline.empty(); ++c) {
      const std::size_t from = c * r.timeline.size() / columns.size(),
                        to = std::max(from + 1, (c + 1) * r.timeline.size() / columns.size());
      for (std::size_t i = from; i < to; ++i) columns[c] += of(r.timeline[i]) / static_cast<double>(to - from);
      top = std::max(top, columns[c]);
    }
    out += fmt::format("  {:<9} {}  max {}\n", name, spark(columns, top), shown(top));
  };
  const auto count = [](double v) { return v < 100 ? fmt::format("{:.1f}", v) : with_commas(std::llround(v)); };
  row(
      "running", [](const TimelinePoint& p) { return p.running; }, count);
  row(
      "waiting", [](const TimelinePoint& p) { return p.waiting; }, count);
  row(
      "KV use", [](const TimelinePoint& p) { return p.kv_use; }, [](double v) { return percent(v); });
  row(
      "tokens/s", [](const TimelinePoint& p) { return p.output_tokens_per_second; }, count);
  return out;
}

/// Share of requests below each of `width` latencies, from the shortest to the longest on a logarithmic axis.
std::string cdfs(const SimulationResult& r, const Style& style) {
  const auto width = static_cast<std::size_t>(std::clamp(style.width - 40, 20, 80));
  std::string out = heading(style, "Share of requests below (log scale)");
  const auto row = [&](const char* name, const LatencySummary& s) {
    if (s.cdf.empty()) return;
    const double low = std::max(s.cdf.front(), 1e-6), high = std::max(s.cdf.back(), low * 1.000001);
    std::vector<double> share(width);
    for (std::size_t i = 0; i < width; ++i) {
      const double x = low * std::pow(high / low, static_cast<double>(i + 1) / static_cast<double>(width));
      share[i] = static_cast<double>(std::upper_bound(s.cdf.begin(), s.cdf.end(), x * (1 + 1e-12)) - s.cdf.begin()) /
                 static_cast<double>(s.cdf.size());
    }
    out += fmt::format("  {:<5} {:>8} ms {} {} ms\n", name, ms(low), spark(share, 1), ms(high));
  };
  row("TTFT", r.ttft);
  row("TPOT", r.tpot);
  row("E2E", r.e2e);
  return out;
}

std::string max_rate(const MaxRate& m, const Style& style) {
  if (!m.request_rate)
    return wide_paragraph(style, style.bad("no rate keeps the SLOs") +
                                     fmt::format(": tried down to almost none ({} simulations)", m.simulations));
  return wide_paragraph(
      style, style.good(fmt::format("{:.3g} requests/s", *m.request_rate)) +
                 fmt::format(" is the highest rate that keeps the SLOs{} ({} simulations of {} requests)",
                             m.bounded ? ", within 2 %" : ": the SLOs held at the highest rate tried", m.simulations,
                             with_commas(m.result.completed)));
}

}  // namespace

std::string simulation_text(const SimulateAnswer& a, const Style& style) {
  const Model& model = *a.check.request.model;
  std::string out = model_head(model, style) + wide_paragraph(style, question(a));
  for (const auto& note : a.notes)
    out += "  " + style.accent("note: ") + wrap(note, style.width - 10, "        ") + "\n";
  if (a.transfer)
    out += wide_paragraph(style,
                          fmt::format("KV moves over {}: {:.1f} KiB a token, {:.0f} GB/s from each instance that "
                                      "prefills",
                                      a.transfer->link, static_cast<double>(a.transfer->bytes_per_token.value) / 1024,
                                      a.transfer->bandwidth.value * 1e-9));
  if (a.max_rate) out += max_rate(*a.max_rate, style);
  if (!a.result) return out;
  const auto& r = *a.result;
  out += wide_paragraph(
      style, fmt::format("{} requests in {:.1f} simulated seconds, {} steps{}; {}", with_commas(r.completed),
                         r.duration, with_commas(r.steps),
                         r.failed > 0 ? ", " + style.bad(with_commas(r.failed) + " refused") : "", r.warmup));
  return out + latencies(r, style) + rates(r, style) + engines(r, style) + timeline(r, style) + cdfs(r, style);
}

}  // namespace shardwise
