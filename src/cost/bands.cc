#include "cost/bands.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/input_error.h"
#include "base/text.h"
#include "config/csv.h"
#include "cost/compiled_step.h"

namespace shardwise {
namespace {

constexpr std::array<std::string_view, 3> kNames = {"ttft", "tpot", "tput"};

/// ln(simulated / closed form) at 5 % and 95 % of the measured rows (bench/data/serving.csv, `verify serving
/// --method`).
struct Spread {
  double lo, hi;
};
constexpr std::array<Spread, 3> kClosedForm = {{{-0.052, 0.463}, {-0.052, 0.0}, {-0.012, 0.032}}};

BandMetric metric_of(std::string_view name) {
  for (std::size_t i = 0; i < kNames.size(); ++i)
    if (kNames[i] == name) return static_cast<BandMetric>(i);
  throw InputError("data/calibration/bands.csv", 0, std::string(name), "unknown metric");
}

bool holds(const BandRow& r, BandMetric metric, double x) { return r.metric == metric && x >= r.from && x < r.to; }

const BandRow* own_row(BandMetric metric, const BandSlice& s, const std::vector<BandRow>& rows) {
  if (!s.combination || band_widening(metric, s) > 1) return nullptr;
  const double x = band_coordinate(metric, s);
  const auto it = std::find_if(rows.begin(), rows.end(),
                               [&](const BandRow& r) { return r.combination == s.combination && holds(r, metric, x); });
  return it == rows.end() ? nullptr : &*it;
}

}  // namespace

std::string_view name_of(BandMetric metric) { return kNames[static_cast<std::size_t>(metric)]; }

std::optional<std::uint64_t> combination_of(std::string_view gpu, std::string_view shape) {
  if (shape.empty()) return std::nullopt;
  return fnv1a(shape, fnv1a("|", fnv1a(gpu)));
}

const std::vector<BandRow>& default_bands() {
  static const std::vector<BandRow> all = [] {
    const CsvTable table = embedded_csv("calibration/bands.csv");
    std::vector<BandRow> out;
    for (const auto& line : table.rows) {
      const CsvCells r(table, line);
      const auto &gpu = r.text("gpu"), &shape = r.text("shape");
      out.push_back({metric_of(r.text("metric")), gpu, shape, r.required("from"), r.required("to"), r.required("lo"),
                     r.required("hi"), combination_of(gpu, shape)});
    }
    return out;
  }();
  return all;
}

BandSlice band_slice(const CompiledStepData& d) {
  BandSlice s;
  s.widen = d.band.widen, s.combination = d.band.combination;
  s.ttft_band = d.band.ttft_band, s.tpot_band = d.band.tpot_band;
  return s;
}

double band_coordinate(BandMetric metric, const BandSlice& s) {
  return metric == BandMetric::ttft ? s.ttft_ms : s.concurrency;
}

double band_widening(BandMetric metric, const BandSlice& s) {
  double w = s.widen;
  if (s.kv_limited) w *= metric == BandMetric::ttft ? 3 : 1.6;
  if (s.open_loop) w *= metric == BandMetric::throughput ? 1.0 : 1.6;
  return w;
}

bool measured_combination(BandMetric metric, const BandSlice& s, const std::vector<BandRow>& rows) {
  return own_row(metric, s, rows) != nullptr;
}

Interval band(BandMetric metric, double mean, const BandSlice& s, const std::vector<BandRow>& rows) {
  const BandRow* row = own_row(metric, s, rows);
  if (!row) {
    const double x = band_coordinate(metric, s);
    const auto it =
        std::find_if(rows.begin(), rows.end(), [&](const BandRow& r) { return !r.combination && holds(r, metric, x); });
    if (it != rows.end()) row = &*it;
  }
  const double w = band_widening(metric, s) * (metric == BandMetric::ttft ? s.ttft_band : s.tpot_band);
  double lo = (row ? row->lo : -0.2) * w, hi = (row ? row->hi : 0.2) * w;
  if (s.closed_form) {
    const auto& off = kClosedForm[static_cast<std::size_t>(metric)];
    lo = -std::hypot(lo, off.lo), hi = std::hypot(hi, off.hi);
  }
  lo = std::max(lo, -3.0), hi = std::min(hi, 3.0);
  return {mean, mean * std::exp(lo), mean * std::exp(hi)};
}

}  // namespace shardwise
