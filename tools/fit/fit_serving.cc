// Fits the coefficients of data/calibration/serving.csv and routing.csv on measured serving rows, and the bands of
// bands.csv on the residuals of rows that a fit has not seen.
//
// usage: fit_serving MEASURED.csv [--write DATA_DIR] [--predictions DIR] [--iterations N] [--baseline OTHER.csv]
//                    [--ranking GROUPS.csv] [--report FILE.md] [--date YYYY-MM-DD]
//
// Objective: sum over rows of w [Huber(ln TPOT error / 5 %) + 0.64 Huber(ln TTFT error / 15 %)] + ridge to the physical
// defaults in ln; w evens out large groups. Gauss-Newton with finite differences in ln(coefficient). Left-out groups
// are (model, system) and, apart, whole models: the normal equations without the group are solved again and its rows
// predicted anew.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <set>

#include "app/serving_rows.h"
#include "base/parallel_map.h"
#include "base/text.h"
#include "config/text_source.h"
#include "score_calibration.h"

using namespace shardwise;

namespace {

using Vector = std::vector<double>;

struct Row {
  const ServingCase* c;
  double weight = 1;
  std::string group, model;
};

struct Predicted {
  double ttft = 0, tpot = 0, tput = 0;
};

/// ln of coefficients, then of routing factors.
CostConstants constants_at(const Vector& x) {
  CostConstants k = default_constants();
  for (std::size_t i = 0; i < kCoefs; ++i) k.value[i] = std::exp(x[i]);
  for (std::size_t i = 0; i < k.routing.size(); ++i) k.routing[i].factor = std::exp(x[kCoefs + i]);
  return k;
}

/// The fit and its derivatives take the replay; what is scored and reported is predicted as it is shipped.
std::vector<Predicted> predict(const std::vector<Row>& rows, const Vector& x,
                               ServingMethod method = ServingMethod::replay) {
  const auto k = constants_at(x);
  std::vector<Predicted> out(rows.size());
  parallel_for(rows.size(), 0, [&](std::size_t i) {
    const auto p = predict_serving(*rows[i].c, k, method);
    out[i] = {p.ttft_ms.mean, p.tpot_ms.mean, p.output_tok_s_per_gpu.mean};
  });
  return out;
}

/// Two residuals a row (TPOT, TTFT), scaled; 0 where nothing was measured.
Vector residuals(const std::vector<Row>& rows, const std::vector<Predicted>& p) {
  Vector r(2 * rows.size(), 0.0);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].c->tpot_ms) r[2 * i] = std::log(p[i].tpot / *rows[i].c->tpot_ms) / 0.05;
    if (rows[i].c->ttft_ms) r[2 * i + 1] = 0.8 * std::log(p[i].ttft / *rows[i].c->ttft_ms) / 0.15;
  }
  return r;
}

/// Solves A x = b, A symmetric positive definite, in place.
Vector solve(std::vector<Vector> a, Vector b) {
  const std::size_t n = b.size();
  for (std::size_t i = 0; i < n; ++i) {
    std::size_t p = i;
    for (std::size_t j = i + 1; j < n; ++j)
      if (std::abs(a[j][i]) > std::abs(a[p][i])) p = j;
    std::swap(a[i], a[p]), std::swap(b[i], b[p]);
    for (std::size_t j = i + 1; j < n; ++j) {
      const double f = a[j][i] / a[i][i];
      for (std::size_t k = i; k < n; ++k) a[j][k] -= f * a[i][k];
      b[j] -= f * b[i];
    }
  }
  for (std::size_t i = n; i-- > 0;) {
    for (std::size_t k = i + 1; k < n; ++k) b[i] -= a[i][k] * b[k];
    b[i] /= a[i][i];
  }
  return b;
}

struct Fit {
  std::vector<Row> rows;
  Vector prior, sd;
  Vector x;                      // at the optimum
  Vector r;                      // residuals there
  std::vector<Vector> jacobian;  // [parameter][residual]

  /// Newton step from x with the rows for which `out` holds left out; several reweightings of the linear model.
  Vector step(const std::function<bool(const Row&)>& out) const {
    const std::size_t n = x.size();
    Vector d(n, 0.0);
    for (int round = 0; round < 6; ++round) {
      std::vector<Vector> a(n, Vector(n, 0.0));
      Vector b(n, 0.0);
      for (std::size_t i = 0; i < r.size(); ++i) {
        const auto& row = rows[i / 2];
        if (out(row)) continue;
        double now = r[i];
        for (std::size_t k = 0; k < n; ++k) now += jacobian[k][i] * d[k];
        const double w = row.weight * std::min(1.0, 1.5 / std::max(std::abs(now), 1e-9));
        for (std::size_t k = 0; k < n; ++k) {
          const double g = w * jacobian[k][i];
          b[k] -= g * r[i];
          for (std::size_t l = 0; l <= k; ++l) a[k][l] += g * jacobian[l][i];
        }
      }
      for (std::size_t k = 0; k < n; ++k) {
        for (std::size_t l = 0; l < k; ++l) a[l][k] = a[k][l];
        a[k][k] += 1 / (sd[k] * sd[k]);
        b[k] += (prior[k] - x[k]) / (sd[k] * sd[k]);
      }
      d = solve(a, b);
    }
    return d;
  }
};

struct Stats {
  Vector e;
  void add(double measured, double predicted) { e.push_back(predicted / measured - 1); }
  std::string text() const {
    if (e.empty()) return "      -             ";
    Vector a;
    double sum = 0, bias = 0;
    for (double v : e) a.push_back(std::abs(v)), sum += std::abs(v), bias += v;
    std::sort(a.begin(), a.end());
    const double n = static_cast<double>(a.size());
    return fmt::format("{:5.1f} /{:5.1f} /{:5.1f} ({:+5.1f})", 100 * sum / n, 100 * a[a.size() / 2],
                       100 * a[static_cast<std::size_t>(.9 * (n - 1))], 100 * bias / n);
  }
};

void table(const std::string& title, const std::vector<Row>& rows, const std::vector<Predicted>& p,
           const std::function<std::string(const Row&)>& key) {
  std::map<std::string, std::array<Stats, 3>> slices;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto& c = *rows[i].c;
    auto& s = slices[key(rows[i])];
    if (c.tpot_ms) s[0].add(*c.tpot_ms, p[i].tpot);
    if (c.ttft_ms) s[1].add(*c.ttft_ms, p[i].ttft);
    if (c.output_tok_s_per_gpu) s[2].add(*c.output_tok_s_per_gpu, p[i].tput);
  }
  fmt::print("{}\n", title);
  for (const auto& [name, s] : slices)
    fmt::print("  {:<34} n={:4d}  TPOT {}  TTFT {}  tok/s {}\n", name, s[2].e.size(), s[0].text(), s[1].text(),
               s[2].text());
}

std::string short_name(const std::string& model) { return model.substr(model.rfind('/') + 1); }

// ---- bands
// -----------------------------------------------------------------------------------------------------------

struct BandRow {
  std::string metric;
  double from, to, lo, hi;
};

struct Residual {
  double x, e, widen;  // slice coordinate, ln(measured / predicted), factor the band is widened by
  std::string group, slice;
};

/// Quantile p of values with weights: linear between the middles of their shares.
double quantile(std::vector<std::pair<double, double>> v, double p) {
  std::sort(v.begin(), v.end());
  double total = 0, below = 0;
  for (const auto& [value, weight] : v) total += weight;
  for (std::size_t i = 0; i < v.size(); ++i) {
    const double middle = (below + v[i].second / 2) / total;
    if (middle >= p) {
      if (i == 0) return v[0].first;
      const double before = (below - v[i - 1].second / 2) / total;
      return v[i - 1].first + (v[i].first - v[i - 1].first) * (p - before) / (middle - before);
    }
    below += v[i].second;
  }
  return v.back().first;
}

/// An interval is asked for a group that nobody measured, so groups count alike, not rows: the errors of one group
/// have most of their causes in common. A group of fewer than five rows counts by its rows.
std::vector<BandRow> bands_of(const std::string& metric, const Vector& edges, const std::vector<Residual>& all,
                              const std::string& left_out) {
  std::vector<BandRow> out;
  for (std::size_t i = 0; i + 1 < edges.size(); ++i) {
    const auto inside = [&](const Residual& r) { return r.x >= edges[i] && r.x < edges[i + 1] && r.group != left_out; };
    std::map<std::string, double> rows;
    for (const auto& r : all)
      if (inside(r)) rows[r.group] += 1;
    std::vector<std::pair<double, double>> v;
    for (const auto& r : all)
      if (inside(r)) v.push_back({r.e / r.widen, std::min(1.0, 5 / rows[r.group])});
    if (v.size() < 10) {
      out.push_back({metric, edges[i], edges[i + 1], -0.3, 0.3});
      continue;
    }
    out.push_back(
        {metric, edges[i], edges[i + 1], std::min(-0.01, quantile(v, 0.05)), std::max(0.01, quantile(v, 0.95))});
  }
  return out;
}

// ---- report
// ----------------------------------------------------------------------------------------------------------

/// The other predictor's figures by id: the rows of variant best_inputs.
std::map<std::string, Predicted> read_baseline(const std::string& file) {
  std::map<std::string, Predicted> out;
  if (file.empty()) return out;
  const auto t = read_serving_csv(read_file(file), file);
  for (std::size_t i = 0; i < t.rows.size(); ++i) {
    if (t.column("variant") >= 0 && t.cell(i, "variant") != "best_inputs") continue;
    const auto value = [&](const char* c) { return t.cell(i, c).empty() ? 0.0 : std::stod(std::string(t.cell(i, c))); };
    out[std::string(t.cell(i, "id"))] = {value("ttft_ms"), value("tpot_ms"), value("output_tok_s_per_gpu")};
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
std::array<double, 3> picks(const ServingTable& t, const std::string& kind, const std::map<std::string, double>& tput,
                            const std::map<std::string, double>* also) {
  std::map<std::string, std::vector<std::size_t>> entries;
  for (std::size_t i = 0; i < t.rows.size(); ++i)
    if (t.cell(i, "kind") == kind) entries[std::string(t.cell(i, "entry_id"))].push_back(i);
  std::array<double, 3> out{};
  for (const auto& [id, rows] : entries) {
    double best = 0, worst = 1e300, top = -1, picked = 0;
    bool priced = true;
    for (const auto i : rows) {
      const std::string row(t.cell(i, "row_id"));
      const double v =
          std::stod(std::string(t.cell(i, kind == "per_gpu" ? "output_tok_s_per_gpu" : "output_tok_s_total")));
      const auto it = tput.find(row);
      if (it == tput.end() || (also && !also->contains(row))) {
        priced = false;
        break;
      }
      double p = it->second;
      if (kind != "per_gpu")
        p *= std::stod(std::string(t.cell(i, "gpus"))) * std::stod(std::string(t.cell(i, "replicas")));
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

std::string accuracy_report(const std::vector<Row>& rows, const std::vector<Predicted>& group_out,
                            const std::vector<Predicted>& model_out, const std::string& baseline,
                            const std::string& ranking) {
  const auto other = read_baseline(baseline);
  std::string md =
      "Mean |relative error| in %, closed-loop rows that are not saturated. Every figure is of rows whose (model, GPU "
      "system), or whole\n"
      "model, the coefficients were fitted without. AIC = AIConfigurator 0.12.0 at its best inputs, on the rows that "
      "both price.\n\n";
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
      "Architecture and GPU generation",
      [](const Row& r) {
        return r.c->architecture + ", " +
               (r.c->cluster.first_gpu().peak.count(GpuDType::fp4) ? "Blackwell" : "Hopper and older");
      },
      20);
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
    auto groups = read_serving_csv("id," + read_file(ranking), ranking);  // the table has no id column of its own
    groups.header.erase(groups.header.begin());
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

}  // namespace

int main(int argc, char** argv) {
  std::string file, write, predictions, baseline, ranking, report, date = "undated";
  int iterations = 4;
  std::string explain;
  for (int i = 1; i < argc; ++i) {
    const std::string a = argv[i];
    if (a == "--write")
      write = argv[++i];
    else if (a == "--predictions")
      predictions = argv[++i];
    else if (a == "--baseline")
      baseline = argv[++i];
    else if (a == "--ranking")
      ranking = argv[++i];
    else if (a == "--date")
      date = argv[++i];
    else if (a == "--explain")
      explain = argv[++i];
    else if (a == "--report")
      report = argv[++i];
    else if (a == "--iterations")
      iterations = std::atoi(argv[++i]);
    else
      file = a;
  }
  const auto cases = read_serving_rows(read_file(file), file);
  for (const auto& c : cases)
    if (c.id == explain) {
      const auto step = compile_step(*c.model, c.engine, c.cluster, {c.cluster.nodes.front().gpus},
                                     CostOptions{nullptr, c.fused_all_reduce});
      const double isl = c.load.isl.mean(), n = c.load.concurrency.value_or(1) / c.ranks;
      StepBatch d, m;
      d.decode_seqs = n, d.decode_context = n * (isl + c.load.osl.mean() / 2);
      m.prefill_tokens = isl, m.prefill_seqs = 1, m.prefill_context = isl * isl / 2;
      for (const auto& [name, b] : {std::pair{"decode", d}, std::pair{"prompt", m}}) {
        fmt::print("{} {:.3f} ms:", name, 1e3 * step.step_time(b).value);
        for (const auto& o : step.breakdown(b))
          fmt::print(" {} {:.3f} (c {:.2f} m {:.2f})", o.name, 1e3 * o.time.value, 1e3 * o.compute.value,
                     1e3 * o.memory.value);
        fmt::print("\n");
      }
      return 0;
    }
  Fit fit;
  std::vector<Row> scored, rest;  // closed loop and not saturated; the others
  std::map<std::string, int> sizes;
  for (const auto& c : cases) {
    if (!c.refusal.empty()) continue;
    Row row{&c, 1, c.model_name + " " + c.system, c.model_name};
    if (c.load_class != "closed_loop" || c.saturated || c.p50_statistics) {
      rest.push_back(row);
      continue;
    }
    scored.push_back(row);
    if (c.tpot_ms || c.ttft_ms) fit.rows.push_back(row), ++sizes[row.group];
  }
  // A handful of rows of a model whose routing no coefficient describes would bend the shared ones: they are scored
  // only.
  std::erase_if(fit.rows, [&](const Row& r) {
    return sizes[r.group] < 10 || r.c->architecture.find("hybrid") != std::string::npos;
  });
  for (auto& r : fit.rows) r.weight = std::min(1.5, std::sqrt(60.0 / sizes[r.group]));

  const auto& parameters = cost_parameters();
  const auto& routing = default_constants().routing;
  for (const auto& p : parameters)
    fit.prior.push_back(std::log(p.prior)), fit.sd.push_back(p.prior_sd), fit.x.push_back(std::log(p.value));
  for (const auto& r : routing) fit.prior.push_back(0), fit.sd.push_back(0.25), fit.x.push_back(std::log(r.factor));
  for (auto& v : fit.sd) v /= 2;  // rows of one sweep are not independent
  const std::size_t n = fit.x.size();

  const auto objective = [&](const Vector& r, const Vector& x) {
    double s = 0;
    for (std::size_t i = 0; i < r.size(); ++i) {
      const double a = std::abs(r[i]);
      s += fit.rows[i / 2].weight * (a < 1.5 ? a * a : 3 * a - 2.25);
    }
    for (std::size_t k = 0; k < n; ++k) s += std::pow((x[k] - fit.prior[k]) / fit.sd[k], 2);
    return s;
  };
  fit.r = residuals(fit.rows, predict(fit.rows, fit.x));
  const auto differentiate = [&] {
    fit.jacobian.assign(n, {});
    for (std::size_t k = 0; k < n; ++k) {
      Vector x = fit.x;
      x[k] += 0.1;
      fit.jacobian[k] = residuals(fit.rows, predict(fit.rows, x));
      for (std::size_t i = 0; i < fit.r.size(); ++i) fit.jacobian[k][i] = (fit.jacobian[k][i] - fit.r[i]) / 0.1;
    }
  };
  double best = objective(fit.r, fit.x);
  fmt::print("{} rows to fit, {} to score; objective {:.1f}\n", fit.rows.size(), scored.size(), best);
  const auto none = [](const Row&) { return false; };
  for (int it = 0; it < iterations; ++it) {
    differentiate();
    const auto d = fit.step(none);
    double scale = 1;
    bool better = false;
    for (int half = 0; half < 4 && !better; ++half, scale *= 0.5) {
      Vector x = fit.x;
      for (std::size_t k = 0; k < n; ++k) x[k] += scale * std::clamp(d[k], -0.7, 0.7);
      const auto r = residuals(fit.rows, predict(fit.rows, x));
      const double o = objective(r, x);
      if (o < best) fit.x = x, fit.r = r, best = o, better = true;
    }
    fmt::print("iteration {}: objective {:.1f}\n", it + 1, best);
    std::fflush(stdout);
    if (!better) break;
  }
  differentiate();
  for (std::size_t k = 0; k < n; ++k)
    fmt::print("  {:<20} {:10.4g}  (default {:.4g})\n",
               k < kCoefs ? parameters[k].name : "routing " + routing[k - kCoefs].pattern, std::exp(fit.x[k]),
               std::exp(fit.prior[k]));

  // The optimum without some rows: the normal equations again and again with the one Jacobian, at fresh residuals.
  const auto without = [&](const std::function<bool(const Row&)>& out_of) {
    Fit other = fit;
    double at = 1e300;
    Vector x = fit.x;
    for (int it = 0; it < 3; ++it) {
      const auto d = other.step(out_of);
      Vector next = other.x;
      for (std::size_t k = 0; k < n; ++k) next[k] += std::clamp(d[k], -0.5, 0.5) * (it == 0 ? 1.0 : 0.7);
      other.x = next, other.r = residuals(other.rows, predict(other.rows, next));
      Vector kept = other.r;
      for (std::size_t i = 0; i < kept.size(); ++i)
        if (out_of(other.rows[i / 2])) kept[i] = 0;
      const double o = objective(kept, next);
      if (o >= at) break;
      at = o, x = next;
    }
    return x;
  };
  // Predictions of rows that the fit has not seen; the coefficients of each left-out key stay in `constants_without`.
  std::map<std::string, CostConstants> constants_without;
  const auto left_out = [&](const std::function<std::string(const Row&)>& key, bool forget_routing) {
    std::vector<Predicted> out(scored.size());
    std::optional<Vector> untouched;  // of groups too small to be fitted on
    std::set<std::string> keys;
    for (const auto& r : scored) keys.insert(key(r));
    for (const auto& g : keys) {
      Vector x;
      const auto out_of = [&](const Row& r) { return key(r) == g; };
      const bool fitted = std::any_of(fit.rows.begin(), fit.rows.end(), out_of);
      if (fitted || !untouched) {
        const Vector refitted = without(out_of);
        if (!fitted) untouched = refitted;
        x = refitted;
      } else {
        x = *untouched;
      }
      std::string moved;  // coefficients that hang on this group
      for (std::size_t k = 0; k < n; ++k)
        if (std::abs(x[k] - fit.x[k]) > 0.08)
          moved += fmt::format(" {} {:+.0f}%", k < kCoefs ? parameters[k].name : routing[k - kCoefs].pattern,
                               100 * std::expm1(x[k] - fit.x[k]));
      if (!moved.empty()) fmt::print("without {}:{}\n", g, moved);
      std::vector<Row> mine;
      std::vector<std::size_t> where;
      for (std::size_t i = 0; i < scored.size(); ++i)
        if (key(scored[i]) == g) mine.push_back(scored[i]), where.push_back(i);
      if (forget_routing)
        for (std::size_t k = kCoefs; k < n; ++k) {
          std::string name = to_lower(g);
          std::erase(name, '-');
          if (name.find(routing[k - kCoefs].pattern) != std::string::npos) x[k] = 0;
        }
      constants_without[g] = constants_at(x);
      const auto p = predict(mine, x, kDefaultServingMethod);
      for (std::size_t i = 0; i < mine.size(); ++i) out[where[i]] = p[i];
    }
    return out;
  };
  const auto seen = predict(scored, fit.x, kDefaultServingMethod);
  const auto group_out = left_out([](const Row& r) { return r.group; }, false);
  const auto model_out = left_out([](const Row& r) { return r.model; }, true);
  const auto all = [](const Row&) { return std::string("all"); };
  fmt::print("|error| % mean / median / p90 (bias), closed loop, not saturated\n");
  table("fitted on them", scored, seen, all);
  table("leave one (model, system) out", scored, group_out, all);
  table("leave one model out", scored, model_out, all);
  table("by architecture and GPU generation, leave one (model, system) out", scored, group_out, [](const Row& r) {
    return r.c->architecture + " " +
           (r.c->cluster.first_gpu().peak.count(GpuDType::fp4) ? "Blackwell" : "Hopper and older");
  });
  table("by group", scored, group_out,
        [](const Row& r) { return short_name(r.model) + " " + r.c->system + " " + r.c->quantisation; });
  table("by load", scored, group_out, [](const Row& r) {
    const int c = r.c->load.concurrency.value_or(0);
    return std::string(c <= 4 ? "a 1-4" : c <= 16 ? "b 5-16" : c <= 64 ? "c 17-64" : c <= 128 ? "d 65-128" : "e more");
  });
  table("by version", scored, group_out, [](const Row& r) { return to_string(r.c->engine.vllm_version); });
  table("by layout", scored, group_out,
        [](const Row& r) { return short_name(r.model) + " " + r.c->system + " " + to_string(r.c->engine.parallel); });
  table("saturated and other classes (fit of all)", rest, predict(rest, fit.x, kDefaultServingMethod),
        [](const Row& r) { return r.c->load_class + (r.c->saturated ? " saturated" : ""); });

  // Bands: conformal on the residuals of left-out groups.
  std::map<std::string, std::vector<Residual>> residual;
  for (std::size_t i = 0; i < scored.size(); ++i) {
    const auto& c = *scored[i].c;
    const double load = static_cast<double>(c.load.concurrency.value_or(1)) / c.ranks;
    const auto step = compile_step(*c.model, c.engine, c.cluster, {c.cluster.nodes.front().gpus});
    const double w = step.data().widen;
    const std::string slice = c.architecture + (step.data().blackwell ? ", Blackwell" : ", Hopper and older");
    if (c.tpot_ms)
      residual["tpot"].push_back({load, std::log(*c.tpot_ms / group_out[i].tpot), w, scored[i].group, slice});
    if (c.ttft_ms)
      residual["ttft"].push_back(
          {group_out[i].ttft, std::log(*c.ttft_ms / group_out[i].ttft), w, scored[i].group, slice});
    if (c.output_tok_s_per_gpu)
      residual["tput"].push_back(
          {load, std::log(*c.output_tok_s_per_gpu / group_out[i].tput), w, scored[i].group, slice});
  }
  const std::map<std::string, Vector> edges = {
      {"tpot", {0, 5, 17, 65, 1e9}}, {"tput", {0, 5, 17, 65, 1e9}}, {"ttft", {0, 100, 200, 500, 1500, 1e12}}};
  std::vector<BandRow> bands;
  std::string coverage =
      "### 90 % intervals\n\nShare of measurements inside an interval made without their group.\n\n| metric | slice | "
      "rows "
      "| coverage |\n|---|---|--:|--:|\n";
  for (const auto& [metric, list] : residual) {
    const auto b = bands_of(metric, edges.at(metric), list, "");
    bands.insert(bands.end(), b.begin(), b.end());
    std::map<std::string, std::pair<int, int>> hits;
    std::map<std::string, std::vector<BandRow>> of_group;
    for (const auto& r : list) {
      auto& mine = of_group[r.group];
      if (mine.empty()) mine = bands_of(metric, edges.at(metric), list, r.group);
      for (const auto& row : mine)
        if (r.x >= row.from && r.x < row.to) {
          const bool in = r.e >= row.lo * r.widen && r.e <= row.hi * r.widen;
          for (const auto& key : {std::string("all"), r.slice, r.group}) hits[key].first += in, ++hits[key].second;
        }
    }
    for (const auto& [key, h] : hits)
      if (h.second >= 40) {
        coverage += fmt::format("| {} | {} | {} | {:.1f} % |\n", metric, key, h.second, 100.0 * h.first / h.second);
        fmt::print("coverage {:<5} {:<44} {:5.1f} % of {}\n", metric, key, 100.0 * h.first / h.second, h.second);
      }
  }

  const auto save = [&](const std::string& name, const std::vector<Predicted>& p) {
    std::ofstream out(predictions + "/" + name);
    out << "id,ttft_ms,tpot_ms,output_tok_s_per_gpu,ttft_lo,ttft_hi,tpot_lo,tpot_hi,tput_lo,tput_hi\n";
    for (std::size_t i = 0; i < scored.size(); ++i) {
      const auto& c = *scored[i].c;
      const double load = static_cast<double>(c.load.concurrency.value_or(1)) / c.ranks;
      const double w = compile_step(*c.model, c.engine, c.cluster, {c.cluster.nodes.front().gpus}).data().widen;
      const auto interval = [&](const std::string& metric, double x, double v) {
        for (const auto& row : bands_of(metric, edges.at(metric), residual[metric], scored[i].group))
          if (x >= row.from && x < row.to)
            return fmt::format("{:.5f},{:.5f}", v * std::exp(row.lo * w), v * std::exp(row.hi * w));
        return std::string(",");
      };
      out << fmt::format("{},{:.4f},{:.5f},{:.5f},{},{},{}\n", c.id, p[i].ttft, p[i].tpot, p[i].tput,
                         interval("ttft", p[i].ttft, p[i].ttft), interval("tpot", load, p[i].tpot),
                         interval("tput", load, p[i].tput));
    }
  };
  if (!predictions.empty()) save("group_out.csv", group_out), save("model_out.csv", model_out), save("seen.csv", seen);

  std::vector<const ServingCase*> measured;
  for (const auto& r : scored) measured.push_back(r.c);
  const auto calibration = score_calibration(measured, [&](const ServingCase& c) -> const CostConstants& {
    return constants_without.at(c.model_name + " " + c.system);
  });
  fmt::print("{}", calibration);

  if (!report.empty()) {
    std::ofstream md(report);
    md << "# Accuracy of the timing model\n\n"
       << fmt::format(
              "Made on {} by `make accuracy` from bench/data/serving.csv ({} rows), kernel tables of "
              "aiconfigurator-core 0.12.0.\n\n",
              date, cases.size())
       << accuracy_report(scored, group_out, model_out, baseline, ranking) << calibration << coverage;
  }

  if (!write.empty()) {
    std::ofstream s(write + "/serving.csv"), r(write + "/routing.csv"), b(write + "/bands.csv");
    s << "# Coefficients of the step and serving model. Columns: name, value (fitted), prior (physical default), prior "
         "sd of ln(value), unit, source. Made by tools/fit/fit_serving.cc.\n";
    for (std::size_t k = 0; k < kCoefs; ++k)
      s << fmt::format("{},{:.5g},{:.5g},{:.3g},{},{}\n", parameters[k].name, std::exp(fit.x[k]), parameters[k].prior,
                       parameters[k].prior_sd, parameters[k].unit, parameters[k].source);
    r << "# Routing concentration: factor on the time of routed experts in decode, relative to the coefficient `moe`. "
         "Columns: pattern (part of name or architecture, lower case), factor, source.\n";
    for (std::size_t k = 0; k < routing.size(); ++k)
      r << fmt::format("{},{:.4g},{}\n", routing[k].pattern, std::exp(fit.x[kCoefs + k]), routing[k].source);
    b << "# 90 % intervals: ln(measured / predicted) at 5 % and 95 % of rows whose group the fit did not see. Columns: "
         "metric, from, to, lo, hi; slices by load per engine (tpot, tput) or predicted ms (ttft).\n";
    for (const auto& row : bands)
      b << fmt::format("{},{:g},{:g},{:.4f},{:.4f}\n", row.metric, row.from, row.to, row.lo, row.hi);
  }
  return 0;
}
