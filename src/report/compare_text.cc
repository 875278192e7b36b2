#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "report/report.h"

namespace shardwise {
namespace {

std::vector<std::string> offer_cells(const Offer& o, bool best, const Style& style) {
  if (!o.plan) return {o.request.cluster.name, "none", "-", "-", "-", "-", "-", "-", "-", o.why_not};
  const auto& e = o.plan->estimate;
  const double ms = e.tpot_ms.mean;
  return {best ? style.good(o.request.cluster.name) : o.request.cluster.name,
          to_string(o.plan->layout),
          std::to_string(o.plan->layout.gpus()),
          fmt::format("{:.0f}", e.concurrency),
          with_commas(std::llround(e.output_tokens_per_second.mean)),
          e.has_tpot ? fmt::format("{:.{}f}", ms, ms < 10 ? 2 : 1) : "-",
          fmt::format("{:.0f}", e.ttft_ms.mean),
          o.cost->usd ? money_text(o.cost->per_hour) : "-",
          money_text(o.cost->per_million_output_tokens),
          ""};
}

std::string best_of(const CompareAnswer& a) {
  std::vector<std::string> parts;
  const auto add = [&](const std::string& what, const std::optional<std::size_t>& i) {
    if (i) parts.push_back(what + ": " + a.offers[*i].request.cluster.name);
  };
  add("Best by the goal (" + std::string(to_string(a.request.goal)) + ")", a.best);
  add("cheapest a token", a.cheapest);
  add("most tokens/s", a.most_tokens);
  add("lowest TPOT", a.lowest_tpot);
  return join(parts, "; ");
}

/// Where no load is given each offer's plan is at its own.
std::string loads_of_offers(const CompareAnswer& a) {
  const auto& w = a.request.workload;
  if (w.concurrency || w.request_rate || w.trace || !a.best) return "";
  const auto load = [](const Offer& o) { return std::lround(o.plan->estimate.concurrency); };
  const long of_best = load(a.offers[*a.best]);
  if (std::ranges::all_of(a.offers, [&](const Offer& o) { return !o.plan || load(o) == of_best; })) return "";
  return fmt::format(
      "each offer is at the load that is best for it (in flight); --concurrency {} compares all at the "
      "best one's",
      of_best);
}

}  // namespace

std::string comparison_text(const CompareAnswer& a, const Style& style) {
  const auto& r = a.request;
  std::string out = model_head(*r.model, style);
  out += wrap(workload_line(r.workload, r.goal, "each offer at its best load"), style.width - 2, "  ") + "\n";
  const bool usd = std::ranges::any_of(a.offers, [](const Offer& o) { return o.cost && o.cost->usd; });
  const bool failed = std::ranges::any_of(a.offers, [](const Offer& o) { return !o.plan; });
  const bool mixed = std::ranges::any_of(a.offers, [&](const Offer& o) { return o.cost && o.cost->usd != usd; });
  Table t;
  t.column("offer", Table::Align::left);
  t.column("best plan", Table::Align::left);
  for (const auto& [name, rank] : {std::pair{"GPUs", 5},
                                   {"in flight", 8},
                                   {"tokens/s", 3},
                                   {"TPOT ms", 1},
                                   {"TTFT ms", 4},
                                   {"USD/h", 6},
                                   {usd ? "USD/Mtok out" : "GPU-h/Mtok out", 2}})
    t.column(name, Table::Align::right, static_cast<std::size_t>(rank));
  t.column(failed ? "why not" : "", Table::Align::left, 7);
  for (std::size_t i = 0; i < a.offers.size(); ++i) {
    auto cells = offer_cells(a.offers[i], a.best == i, style);
    if (usd && a.offers[i].cost && !a.offers[i].cost->usd) cells[8] = "-";
    t.row(std::move(cells));
  }
  out += heading(style, "Offers") + t.text(style);
  if (const auto loads = loads_of_offers(a); !loads.empty()) out += paragraph(style, style.dim(loads));
  if (const auto best = best_of(a); !best.empty()) out += paragraph(style, best + ".");
  if (mixed) out += paragraph(style, style.dim("no price is known of some: --price H100=2.5,H200=3.4"));
  for (const auto& o : a.offers)
    for (const auto& w : o.warnings)
      out += style.accent("note: ") + wrap(o.request.cluster.name + ": " + w, style.width - 8, "      ") + "\n";
  return out;
}

}  // namespace shardwise
