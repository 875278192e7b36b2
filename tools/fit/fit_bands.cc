#include "fit_bands.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <map>
#include <utility>

namespace shardwise {
namespace {

constexpr BandMetric kMetrics[] = {BandMetric::tpot, BandMetric::throughput, BandMetric::ttft};
constexpr double kForever = 1e12;
constexpr std::size_t kOwnRows = 25;  ///< a combination with fewer has no intervals of its own
constexpr int kFolds = 5;
constexpr int kSliceRows = 40;  ///< slices of fewer rows say little

std::vector<double> edges(BandMetric m) {
  return m == BandMetric::ttft ? std::vector<double>{0, 100, 200, 500, 1500, kForever}
                               : std::vector<double>{0, 5, 17, 65, kForever};
}

double error(const Residual& r) { return std::log(r.measured / r.predicted) / band_widening(r.metric, r.slice); }

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

bool inside(const Residual& r, const std::vector<BandRow>& rows) {
  const auto i = band(r.metric, r.predicted, r.slice, rows);
  return r.measured >= i.lo && r.measured <= i.hi;
}

struct Hits {
  int inside = 0, rows = 0;
  void add(bool in) { inside += in, ++rows; }
  double share() const { return rows ? static_cast<double>(inside) / rows : 1; }
};

std::vector<std::string> slices_of(const Residual& r) {
  return {"all", r.architecture, r.group, r.group.substr(r.group.rfind(' ') + 1)};
}

/// Calls f(residual, rows) for every residual of `metric`, rows made without its group.
void each_left_out(const std::vector<Residual>& all, BandMetric metric, double level,
                   const std::function<void(const Residual&, const std::vector<BandRow>&)>& f) {
  std::map<std::string, std::vector<BandRow>> without;
  for (const auto& r : all) {
    if (r.metric != metric) continue;
    auto& rows = without[r.group];
    if (rows.empty()) rows = transfer_bands(all, metric, level, r.group);
    f(r, rows);
  }
}

using Combination = std::pair<std::string, std::string>;  // GPU, shape

/// Residuals of one metric by combination, those with enough rows and nothing that widens.
std::map<Combination, std::vector<const Residual*>> combinations(const std::vector<Residual>& seen, BandMetric metric) {
  std::map<Combination, std::vector<const Residual*>> out;
  for (const auto& r : seen)
    if (r.metric == metric && band_widening(metric, r.slice) <= 1) out[{r.gpu, r.shape}].push_back(&r);
  std::erase_if(out, [](const auto& e) { return e.second.size() < kOwnRows; });
  return out;
}

BandRow own_band(BandMetric metric, const Combination& which, const std::vector<const Residual*>& rows) {
  std::vector<std::pair<double, double>> v;
  double from = kForever, to = 0;
  for (const auto* r : rows) {
    v.push_back({error(*r), 1});
    const double x = band_coordinate(metric, r->slice);
    from = std::min(from, x), to = std::max(to, x);
  }
  // n residuals leave (1 - level) / (1 + 1/n) outside their quantiles (conformal prediction).
  const double tail =
      std::max(0.0, 0.05 * (1 + 1.0 / static_cast<double>(v.size())) - 1.0 / static_cast<double>(v.size()) / 2);
  return {metric,
          which.first,
          which.second,
          from / 1.5,
          to * 1.5,
          std::min(-0.01, quantile(v, tail)),
          std::max(0.01, quantile(v, 1 - tail)),
          combination_of(which.first, which.second)};
}

}  // namespace

std::vector<BandRow> transfer_bands(const std::vector<Residual>& left_out, BandMetric metric, double level,
                                    const std::string& except) {
  std::vector<BandRow> out;
  const auto e = edges(metric);
  for (std::size_t i = 0; i + 1 < e.size(); ++i) {
    std::vector<const Residual*> rows;
    std::map<std::string, double> of_group;
    for (const auto& r : left_out) {
      const double x = band_coordinate(metric, r.slice);
      if (r.metric == metric && x >= e[i] && x < e[i + 1] && r.group != except)
        rows.push_back(&r), of_group[r.group] += 1;
    }
    BandRow row{metric, "", "", e[i], e[i + 1], -0.3, 0.3, 0};
    if (rows.size() >= 10) {
      std::vector<std::pair<double, double>> v;  // a group of fewer than five rows counts by its rows
      for (const auto* r : rows) v.push_back({error(*r), std::min(1.0, 5 / of_group[r->group])});
      row.lo = std::min(-0.01, quantile(v, (1 - level) / 2)), row.hi = std::max(0.01, quantile(v, (1 + level) / 2));
    }
    out.push_back(row);
  }
  return out;
}

double transfer_level(const std::vector<Residual>& left_out, BandMetric metric) {
  double level = 0.88;
  for (; level < 0.975; level += 0.005) {
    std::map<std::string, Hits> slices;
    each_left_out(left_out, metric, level, [&](const Residual& r, const std::vector<BandRow>& rows) {
      for (const auto& slice : slices_of(r)) slices[slice].add(inside(r, rows));
    });
    if (std::all_of(slices.begin(), slices.end(), [](const auto& s) {
          return s.second.rows < kSliceRows || s.second.share() >= (s.first == "all" ? 0.895 : 0.80);
        }))
      break;
  }
  return level;
}

std::vector<BandRow> own_bands(const std::vector<Residual>& seen, BandMetric metric) {
  std::vector<BandRow> out;
  for (const auto& [which, rows] : combinations(seen, metric)) out.push_back(own_band(metric, which, rows));
  return out;
}

std::string coverage_report(const std::vector<Residual>& left_out, const std::vector<Residual>& seen) {
  std::map<std::pair<std::string, std::string>, std::array<Hits, 2>> slices;  // metric, slice; unseen group, own rows
  const auto count = [&](const Residual& r, std::size_t column, bool in) {
    for (const auto& slice : slices_of(r)) slices[{std::string(name_of(r.metric)), slice}][column].add(in);
  };
  for (const auto metric : kMetrics) {
    each_left_out(left_out, metric, transfer_level(left_out, metric),
                  [&](const Residual& r, const std::vector<BandRow>& rows) { count(r, 0, inside(r, rows)); });
    for (const auto& [which, rows] : combinations(seen, metric))
      for (int fold = 0; fold < kFolds; ++fold) {
        std::vector<const Residual*> others;
        for (std::size_t i = 0; i < rows.size(); ++i)
          if (static_cast<int>(i) % kFolds != fold) others.push_back(rows[i]);
        const std::vector<BandRow> own = {own_band(metric, which, others)};
        for (std::size_t i = static_cast<std::size_t>(fold); i < rows.size(); i += kFolds)
          count(*rows[i], 1, inside(*rows[i], own));
      }
  }
  std::string md =
      "### 90 % intervals\n\nShare of measurements inside their interval. *Unseen*: of a (model, GPU) that neither fit "
      "nor "
      "interval saw.\n*Measured*: of a combination that the fit saw, by the interval of its other rows (five "
      "folds).\n\n| metric | slice | rows | unseen | measured |\n|---|---|--:|--:|--:|\n";
  const auto cell = [](const Hits& h) {
    return h.rows < 25 ? std::string("-") : fmt::format("{:.1f} %", 100 * h.share());
  };
  for (const auto& [key, h] : slices)
    if (h[0].rows >= kSliceRows)
      md += fmt::format("| {} | {} | {} | {} | {} |\n", key.first, key.second, h[0].rows, cell(h[0]), cell(h[1]));
  return md;
}

}  // namespace shardwise
