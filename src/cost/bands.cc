#include "cost/bands.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "base/embedded.h"
#include "base/input_error.h"
#include "base/text.h"

namespace shardwise {
namespace {

struct Row {
  BandMetric metric;
  double from, to;  ///< slice of the load per engine (TPOT, throughput) or of the predicted TTFT in ms
  double lo, hi;    ///< ln(measured / predicted) at 5 % and 95 %
};

const std::vector<Row>& rows() {
  static const std::vector<Row> all = [] {
    const auto text = embedded_file("calibration/bands.csv");
    if (!text) throw InputError("data/calibration/bands.csv", 0, "", "missing from this build");
    std::vector<Row> out;
    for (const auto& line : split(*text, '\n')) {
      if (line.empty() || line[0] == '#') continue;
      const auto f = split(line, ',');
      const auto m = f.at(0) == "ttft"   ? BandMetric::ttft
                     : f.at(0) == "tpot" ? BandMetric::tpot
                                         : BandMetric::throughput;
      out.push_back({m, std::stod(f.at(1)), std::stod(f.at(2)), std::stod(f.at(3)), std::stod(f.at(4))});
    }
    return out;
  }();
  return all;
}

}  // namespace

Interval band(BandMetric metric, double mean, const BandSlice& s) {
  const double x = metric == BandMetric::ttft ? s.ttft_ms : s.concurrency;
  double lo = -0.2, hi = 0.2;
  for (const auto& r : rows())
    if (r.metric == metric && x >= r.from && x < r.to) {
      lo = r.lo, hi = r.hi;
      break;
    }
  double w = s.widen;
  if (s.kv_limited) w *= metric == BandMetric::ttft ? 3 : 1.6;
  if (s.open_loop) w *= metric == BandMetric::throughput ? 1.0 : 1.6;
  w *= metric == BandMetric::ttft ? s.ttft_band : s.tpot_band;
  lo = std::max(lo * w, -3.0), hi = std::min(hi * w, 3.0);
  return {mean, mean * std::exp(lo), mean * std::exp(hi)};
}

}  // namespace shardwise
