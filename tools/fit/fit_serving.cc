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

#include "accuracy_report.h"
#include "base/input_error.h"
#include "base/parallel_map.h"
#include "base/text.h"
#include "config/quantity.h"
#include "config/text_source.h"
#include "fit_bands.h"
#include "fit_rows.h"
#include "score_calibration.h"

using namespace shardwise;

namespace {

using Vector = std::vector<double>;

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
    out[i] = {p.ttft_ms.mean, p.tpot_ms.mean, p.output_tok_s_per_gpu.mean, p.slice, p.gpu, p.shape};
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

int whole_number(const char* text) {
  std::int64_t value = 0;
  if (!parse_number(text, value)) throw InputError("--iterations", 0, "", std::string("no number: ") + text);
  return static_cast<int>(value);
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
      iterations = whole_number(argv[++i]);
    else
      file = a;
  }
  const auto cases = priced(read_serving_rows(read_file(file), file));
  for (const auto& c : cases)
    if (c.id == explain) {
      const auto step = compile_step(*c.model, c.engine, c.cluster, {c.cluster.nodes.front().gpus}, default_constants(),
                                     c.fused_all_reduce);
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
  table("by architecture and GPU generation, leave one (model, system) out", scored, group_out,
        [](const Row& r) { return architecture_and_generation(*r.c); });
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

  // Bands.
  const auto residuals_of = [&](const std::vector<Predicted>& p) {
    std::vector<Residual> out;
    for (std::size_t i = 0; i < scored.size(); ++i) {
      const auto& c = *scored[i].c;
      const auto add = [&](BandMetric metric, const std::optional<double>& measured, double predicted) {
        if (measured)
          out.push_back({metric, *measured, predicted, p[i].slice, p[i].gpu, p[i].shape, scored[i].group,
                         architecture_and_generation(c)});
      };
      add(BandMetric::tpot, c.tpot_ms, p[i].tpot);
      add(BandMetric::throughput, c.output_tok_s_per_gpu, p[i].tput);
      add(BandMetric::ttft, c.ttft_ms, p[i].ttft);
    }
    return out;
  };
  const auto left_out_residuals = residuals_of(group_out), seen_residuals = residuals_of(seen);
  const auto coverage = coverage_report(left_out_residuals, seen_residuals);
  fmt::print("{}", coverage);
  std::vector<std::pair<BandMetric, double>> levels;
  for (const auto metric : {BandMetric::tpot, BandMetric::throughput, BandMetric::ttft})
    levels.push_back({metric, transfer_level(left_out_residuals, metric)});
  const auto bands_without = [&](const std::string& group) {
    std::vector<BandRow> out;
    for (const auto& [metric, level] : levels)
      for (auto& row : transfer_bands(left_out_residuals, metric, level, group)) out.push_back(row);
    return out;
  };

  std::map<std::string, std::vector<BandRow>> bands;  // by the group they were made without
  for (const auto& r : scored)
    if (!bands.contains(r.group)) bands[r.group] = bands_without(r.group);
  const auto save = [&](const std::string& name, const std::vector<Predicted>& p) {
    std::ofstream out(predictions + "/" + name);
    out << "id,ttft_ms,tpot_ms,output_tok_s_per_gpu,ttft_lo,ttft_hi,tpot_lo,tpot_hi,tput_lo,tput_hi\n";
    for (std::size_t i = 0; i < scored.size(); ++i) {
      const auto& rows = bands.at(scored[i].group);
      const auto interval = [&](BandMetric metric, double v) {
        const auto in = band(metric, v, p[i].slice, rows);
        return fmt::format("{:.5f},{:.5f}", in.lo, in.hi);
      };
      out << fmt::format("{},{:.4f},{:.5f},{:.5f},{},{},{}\n", scored[i].c->id, p[i].ttft, p[i].tpot, p[i].tput,
                         interval(BandMetric::ttft, p[i].ttft), interval(BandMetric::tpot, p[i].tpot),
                         interval(BandMetric::throughput, p[i].tput));
    }
  };
  if (!predictions.empty()) save("group_out.csv", group_out), save("model_out.csv", model_out), save("seen.csv", seen);

  std::vector<const ServingCase*> measured;
  for (const auto& r : scored) measured.push_back(r.c);
  const auto calibration = score_calibration(
      measured,
      [&](const ServingCase& c) -> const CostConstants& { return constants_without.at(c.model_name + " " + c.system); },
      [&](const ServingCase& c) -> const std::vector<BandRow>& { return bands.at(c.model_name + " " + c.system); });
  fmt::print("{}", calibration);

  if (!report.empty()) {
    std::ofstream md(report);
    md << "# Accuracy of the timing model\n\n"
       << fmt::format(
              "Made on {} by `make accuracy` from bench/data/serving.csv ({} rows that can be priced, {} of them "
              "scored), "
              "kernel tables of\naiconfigurator-core 0.12.0.\n\n",
              date, cases.size(), scored.size())
       << accuracy_report(scored, group_out, model_out, baseline, ranking) << calibration << coverage;
  }

  if (!write.empty()) {
    std::ofstream s(write + "/serving.csv"), r(write + "/routing.csv"), b(write + "/bands.csv");
    s << "# Coefficients of the step and serving model. Columns: name, value (fitted), prior (physical default), prior "
         "sd of ln(value), unit, source. Made by tools/fit/fit_serving.cc.\nname,value,prior,prior_sd,unit,source\n";
    for (std::size_t k = 0; k < kCoefs; ++k)
      s << fmt::format("{},{:.5g},{:.5g},{:.3g},{},{}\n", parameters[k].name, std::exp(fit.x[k]), parameters[k].prior,
                       parameters[k].prior_sd, parameters[k].unit, parameters[k].source);
    r << "# Routing concentration: factor on the time of routed experts in decode, relative to the coefficient `moe`. "
         "Columns: pattern (part of name or architecture, lower case), factor, source.\npattern,factor,source\n";
    for (std::size_t k = 0; k < routing.size(); ++k)
      r << fmt::format("{},{:.4g},{}\n", routing[k].pattern, std::exp(fit.x[kCoefs + k]), routing[k].source);
    b << "# 90 % intervals: ln(measured / predicted) at 5 % and 95 %. Columns: metric, GPU and shape of a measured "
         "combination (its own residuals) or none (residuals of groups that the fit did not see), from, to, lo, hi; by "
         "requests in flight per engine (tpot, tput) or predicted ms (ttft). Made by tools/fit/fit_serving.cc.\n"
         "metric,gpu,shape,from,to,lo,hi\n";
    auto rows = bands_without("");
    for (const auto metric : {BandMetric::tpot, BandMetric::throughput, BandMetric::ttft})
      for (auto& row : own_bands(seen_residuals, metric)) rows.push_back(row);
    for (const auto& row : rows)
      b << fmt::format("{},{},{},{:g},{:g},{:.4f},{:.4f}\n", name_of(row.metric), row.gpu, row.shape, row.from, row.to,
                       row.lo, row.hi);
  }
  return 0;
}
