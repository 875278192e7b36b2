// Text and JSON of `place`.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "app/place.h"
#include "base/text.h"
#include "config/json.h"
#include "report/report.h"

namespace shardwise {
namespace {

constexpr std::size_t kAllRanks = 16;  // more are shown by their heaviest and lightest
constexpr std::size_t kHeavy = 8, kLight = 4;

double mean_of(const std::vector<double>& v) {
  return std::accumulate(v.begin(), v.end(), 0.0) / static_cast<double>(v.size());
}

std::string rank_table(const PlacedPolicy& before, const PlacedPolicy& after, const Style& style) {
  const double mean = mean_of(before.rank_load);
  if (mean <= 0) return "";
  std::vector<std::size_t> order(before.rank_load.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::string left_out;
  if (order.size() > kAllRanks) {
    std::stable_sort(order.begin(), order.end(),
                     [&](auto a, auto b) { return before.rank_load[a] > before.rank_load[b]; });
    left_out = fmt::format("  ({} ranks between them left out)\n", order.size() - kHeavy - kLight);
    order.erase(order.begin() + static_cast<std::ptrdiff_t>(kHeavy), order.end() - static_cast<std::ptrdiff_t>(kLight));
  }
  double top = 0;
  for (const auto* p : {&before, &after})
    top = std::max(top, *std::max_element(p->rank_load.begin(), p->rank_load.end()));
  const int width = std::clamp((style.width - 56) / 2, 8, 30);
  Table t;
  t.column("rank");
  t.column("before", Table::Align::left);
  for (const char* name : {"% of mean", "worst layer"}) t.column(name);
  t.column("after", Table::Align::left);
  for (const char* name : {"% of mean", "worst layer"}) t.column(name);
  for (const auto r : order) {
    std::vector<std::string> cells{std::to_string(r)};
    for (const auto* p : {&before, &after}) {
      cells.push_back(bar({{'#', p->rank_load[r]}}, top, width));
      cells.push_back(fmt::format("{:.1f}", 100 * p->rank_load[r] / mean));
      cells.push_back(fmt::format("{:.1f}", 100 * p->worst_layer[r]));
    }
    t.row(std::move(cells));
  }
  return t.text(style) + left_out;
}

}  // namespace

std::string place_text(const PlaceAnswer& a, const Style& style) {
  const auto& q = a.request;
  std::string out =
      style.bold(q.load_name) + fmt::format("  {} layers x {} experts{}; {} ranks on {} node{}, {} redundant experts\n",
                                            q.loads.layers, q.loads.experts,
                                            q.num_expert_group ? fmt::format(" in {} groups", *q.num_expert_group) : "",
                                            q.ranks, q.nodes, q.nodes == 1 ? "" : "s", q.redundant_experts);
  if (q.ranks % q.nodes != 0)
    out += fmt::format("  {} ranks do not divide by {} nodes: the balancer takes them as one node, as vLLM does\n",
                       q.ranks, q.nodes);
  else if (q.nodes > 1 && q.num_expert_group.value_or(1) % q.nodes != 0)
    out += fmt::format(
        "  expert groups ({}) do not divide by {} nodes: the balancer takes them as one node, as vLLM does\n",
        q.num_expert_group.value_or(1), q.nodes);

  out += "\n" + style.bold("Policies") + "\n";
  Table t;
  t.column("policy", Table::Align::left);
  t.column("effective", Table::Align::left);
  for (const char* name : {"balancedness", "least", "most loaded rank"}) t.column(name);
  for (const auto& p : a.policies) {
    if (p.refusal)
      t.row({to_string(p.asked), style.bad("refused"), "-", "-", "-"});
    else
      t.row({to_string(p.asked), to_string(p.effective), fmt::format("{:.4f}", p.balance.mean),
             fmt::format("{:.4f}", p.balance.least),
             a.before.critical > 0 && !a.before.refusal
                 ? fmt::format("{:+.1f} %", 100 * (p.critical / a.before.critical - 1))
                 : "-"});
  }
  out += t.text(style);
  if (a.best) {
    out += style.dim("  balancedness: mean over layers of mean / most loaded rank; least: the worst layer") + "\n";
    out += style.dim("  last column: against the map that vLLM starts with") + "\n";
    if (a.num_physical % q.ranks == 0)
      out += style.dim(
                 fmt::format("  proven: no placement with as many experts on every rank gets above {:.4f}", a.bound)) +
             "\n";
  }
  for (const auto& p : a.policies) {
    if (p.refusal)
      out += "  " + style.bad(to_string(p.asked)) + ": " + wrap(*p.refusal, style.width - 16, "    ") + "\n";
    else if (p.why)
      out += fmt::format("  {} is asked for, vLLM falls back to {} and logs a warning: {}\n", to_string(p.asked),
                         to_string(p.effective), *p.why);
  }
  if (!a.best) return out;
  const auto& best = a.policies[*a.best];
  if (!a.before.refusal) {
    out += "\n" + style.bold("Load by rank") +
           style.dim(", before (vLLM's first map) and after (" + to_string(best.asked) + ")") + "\n";
    out += rank_table(a.before, best, style);
    out += "\n" + (a.worth_it ? style.good("Worth it") : style.bold("Not worth it"));
    out += fmt::format(": {} takes {:.1f} % off the most loaded rank, layer by layer; --min-gain asks for {:.1f} %\n",
                       to_string(best.asked), 100 * a.gain, 100 * q.least_gain);
  }
  return out;
}

std::string place_json(const PlaceAnswer& a) {
  const auto& q = a.request;
  Json j{{"schema", "shardwise.place/1"},
         {"num_layers", q.loads.layers},
         {"num_logical_experts", q.loads.experts},
         {"num_physical_experts", a.num_physical},
         {"ep_size", q.ranks},
         {"nodes", q.nodes}};
  const auto one = [](const PlacedPolicy& p) {
    Json o{{"policy", to_string(p.asked)}};
    if (p.refusal) {
      o["refusal"] = *p.refusal;
      return o;
    }
    o["effective"] = to_string(p.effective);
    if (p.why) o["why"] = *p.why;
    o["balancedness_mean"] = p.balance.mean;
    o["balancedness_min"] = p.balance.least;
    o["most_loaded_rank_tokens"] = p.critical;
    o["rank_load"] = p.rank_load;
    o["rank_worst_layer"] = p.worst_layer;
    return o;
  };
  j["before"] = one(a.before);
  j["policies"] = Json::array();
  for (const auto& p : a.policies) j["policies"].push_back(one(p));
  j["best"] = a.best ? Json(to_string(a.policies[*a.best].asked)) : Json(nullptr);
  j["balancedness_bound"] = a.bound;
  j["gain"] = a.gain;
  j["least_gain"] = q.least_gain;
  j["worth_it"] = a.worth_it;
  return j.dump(2) + "\n";
}

std::string place_map_json(const PlaceAnswer& a, const PlacedPolicy& p) {
  const auto physical = static_cast<std::ptrdiff_t>(a.num_physical);
  std::string out = fmt::format(
      "{{\"policy\": \"{}\", \"num_logical_experts\": {}, \"num_physical_experts\": {}, \"ep_size\": {},\n "
      "\"experts_of_rank\": {},\n \"physical_to_logical_map\": [\n",
      to_string(p.effective), a.request.loads.experts, a.num_physical, a.request.ranks, Json(p.slots_of_rank).dump());
  for (int l = 0; l < a.request.loads.layers; ++l)
    out += "  " + Json(std::vector<int>(p.map.begin() + l * physical, p.map.begin() + (l + 1) * physical)).dump() +
           (l + 1 < a.request.loads.layers ? ",\n" : "]}\n");
  return out;
}

}  // namespace shardwise
