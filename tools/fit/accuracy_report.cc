#include "accuracy_report.h"

#include <array>
#include <functional>
#include <map>

#include "config/csv.h"
#include "config/text_source.h"

namespace shardwise {
namespace {

/// The other predictor's figures by id: the rows of variant best_inputs.
std::map<std::string, Predicted> read_baseline(const std::string& file) {
  std::map<std::string, Predicted> out;
  if (file.empty()) return out;
  const auto t = parse_csv(read_file(file), file);
  for (const auto& row : t.rows) {
    const CsvCells cells(t, row);
    if (t.find_column("variant") && cells.text("variant") != "best_inputs") continue;
    const auto value = [&](const char* column) { return cells.number(column).value_or(0); };
    out[cells.text("id")] = {value("ttft_ms"), value("tpot_ms"), value("output_tok_s_per_gpu"), {}, "", ""};
  }
  return out;
}

struct Sums {
  Stats tpot, ttft, tput;
  void add(const ServingCase& c, const Predicted& p) {
    if (c.tpot_ms && p.tpot > 0) tpot.add(*c.tpot_ms, p.tpot);
    if (c.ttft_ms && p.ttft > 0) ttft.add(*c.ttft_ms, p.ttft);
    if (c.output_tok_s_per_gpu && p.tput > 0) tput.add(*c.output_tok_s_per_gpu, p.tput);
  }
};

std::string percent(const Stats& s) {
  double sum = 0;
  for (double v : s.e) sum += std::abs(v);
  return s.e.empty() ? "-" : fmt::format("{:.1f}", 100 * sum / static_cast<double>(s.e.size()));
}

/// Picks of the layout with the most predicted tokens/s: {entries, best or within 3 %, mean regret}.
std::array<double, 3> picks(const CsvTable& t, const std::string& kind, const std::map<std::string, double>& tput,
                            const std::map<std::string, double>* also) {
  std::map<std::string, std::vector<CsvCells>> entries;
  for (const auto& row : t.rows)
    if (const CsvCells cells(t, row); cells.text("kind") == kind) entries[cells.text("entry_id")].push_back(cells);
  std::array<double, 3> out{};
  for (const auto& [id, rows] : entries) {
    double best = 0, worst = 1e300, top = -1, picked = 0;
    bool priced = true;
    for (const auto& cells : rows) {
      const std::string& row = cells.text("row_id");
      const double v = cells.required(kind == "per_gpu" ? "output_tok_s_per_gpu" : "output_tok_s_total");
      const auto it = tput.find(row);
      if (it == tput.end() || (also && !also->contains(row))) {
        priced = false;
        break;
      }
      double p = it->second;
      if (kind != "per_gpu") p *= cells.required("gpus") * cells.required("replicas");
      best = std::max(best, v), worst = std::min(worst, v);
      if (p > top) top = p, picked = v;
    }
    if (!priced || best / worst - 1 <= 0.03) continue;
    const double regret = 1 - picked / best;
    out[0] += 1, out[1] += regret <= 0.03, out[2] += regret;
  }
  if (out[0] > 0) out[1] /= out[0], out[2] /= out[0];
  return out;
}

}  // namespace

std::string accuracy_report(const std::vector<Row>& rows, const std::vector<Predicted>& group_out,
                            const std::vector<Predicted>& model_out, const std::string& baseline,
                            const std::string& ranking) {
  const auto other = read_baseline(baseline);
  std::string md =
      "Mean |relative error| in %, closed-loop rows that are not saturated. Every figure is of rows whose (model, GPU "
      "system), or whole\n"
      "model, the coefficients were fitted without. AIC = AIConfigurator 0.12.0 at its best inputs; where it prices "
      "rows of a slice,\nTPOT, TTFT and tok/s are of those rows, else of all of them.\n\n";
  const auto section = [&](const std::string& title, const std::function<std::string(const Row&)>& key,
                           std::size_t least) {
    struct Slice {
      Sums own, own_common, model, aic;
    };
    std::map<std::string, Slice> slices;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto& c = *rows[i].c;
      auto& s = slices[key(rows[i])];
      s.own.add(c, group_out[i]), s.model.add(c, model_out[i]);
      const auto it = other.find(c.id);
      if (it == other.end() || it->second.tpot <= 0) continue;
      s.own_common.add(c, group_out[i]), s.aic.add(c, it->second);
    }
    md += "### " + title +
          "\n\n| slice | rows | TPOT | AIC | TTFT | AIC | tok/s | AIC | TPOT, model unseen | TTFT, model unseen "
          "|\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n";
    for (const auto& [name, s] : slices)
      if (s.own.tput.e.size() >= least)
        md += fmt::format("| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |\n", name, s.own.tput.e.size(),
                          percent(s.own_common.tpot.e.empty() ? s.own.tpot : s.own_common.tpot), percent(s.aic.tpot),
                          percent(s.own_common.ttft.e.empty() ? s.own.ttft : s.own_common.ttft), percent(s.aic.ttft),
                          percent(s.own_common.tput.e.empty() ? s.own.tput : s.own_common.tput), percent(s.aic.tput),
                          percent(s.model.tpot), percent(s.model.ttft));
    md += "\n";
  };
  section(
      "All", [](const Row&) { return std::string("all"); }, 1);
  section(
      "Architecture and GPU generation", [](const Row& r) { return architecture_and_generation(*r.c); }, 20);
  section(
      "Model and system",
      [](const Row& r) { return short_name(r.model) + ", " + r.c->system + ", " + r.c->quantisation; }, 5);
  section(
      "Load",
      [](const Row& r) {
        const int c = r.c->load.concurrency.value_or(0);
        return std::string(c <= 4     ? "1 to 4 users"
                           : c <= 16  ? "5 to 16 users"
                           : c <= 64  ? "17 to 64 users"
                           : c <= 128 ? "65 to 128 users"
                                      : "more than 128 users");
      },
      5);
  if (!ranking.empty()) {
    std::map<std::string, double> own, aic;
    for (std::size_t i = 0; i < rows.size(); ++i) own[rows[i].c->id] = group_out[i].tput;
    for (const auto& [id, p] : other)
      if (p.tput > 0) aic[id] = p.tput;
    const auto groups = parse_csv(read_file(ranking), ranking);
    md +=
        "### Layout picked\n\n| kind | entries | best or within 3 % | mean regret % | AIC best | AIC regret % "
        "|\n|---|--:|--:|--:|--:|--:|\n";
    for (const std::string kind : {"fixed_budget", "per_gpu"}) {
      const auto a = picks(groups, kind, own, other.empty() ? nullptr : &aic), b = picks(groups, kind, aic, &own);
      md += fmt::format("| {} | {:.0f} | {:.1f} % | {:.2f} | {:.1f} % | {:.2f} |\n", kind, a[0], 100 * a[1], 100 * a[2],
                        100 * b[1], 100 * b[2]);
    }
    md += "\n";
  }
  return md;
}

}  // namespace shardwise
