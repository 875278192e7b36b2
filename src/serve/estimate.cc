#include "serve/estimate.h"

#include <fmt/format.h>

#include <algorithm>

namespace shardwise {

std::string tpot_words(const ServingEstimate& e) {
  return e.has_tpot ? fmt::format("TPOT {:.1f} ms", e.tpot_ms.mean) : "no TPOT";
}

void set_intervals(ServingEstimate& e, double output_tokens) {
  e.ttft_ms = band(BandMetric::ttft, e.ttft_ms.mean, e.slice);
  e.tpot_ms = band(BandMetric::tpot, e.tpot_ms.mean, e.slice);
  e.output_tokens_per_second = band(BandMetric::throughput, e.output_tokens_per_second.mean, e.slice);
  // As far from the mean as another interval, a tail somewhat farther.
  const auto like = [](Interval& to, double mean, double lo, double hi) {
    if (mean > 0) to.lo = to.mean * lo / mean, to.hi = to.mean * hi / mean;
  };
  const double steps = std::max(0.0, output_tokens - 1);
  const auto &f = e.ttft_ms, &s = e.tpot_ms, &x = e.e2e_ms, &t = e.output_tokens_per_second;
  like(e.e2e_ms, f.mean + steps * s.mean, f.lo + steps * s.lo, f.hi + steps * s.hi);
  like(e.ttft_p99_ms, f.mean, f.lo * 0.8, f.hi * 1.25);
  like(e.tpot_p99_ms, s.mean, s.lo * 0.92, s.hi * 1.08);
  like(e.e2e_p99_ms, x.mean, x.lo * 0.9, x.hi * 1.1);
  like(e.output_tokens_per_second_per_gpu, t.mean, t.lo, t.hi);
}

double ServingEstimate::quantile_ms(SloMetric metric, SloStat stat) const {
  const auto pick = [&](const Interval& mean, const Interval& p99) {
    const double spread = std::max(0.0, p99.mean - mean.mean);
    switch (stat) {
      case SloStat::mean:
        return mean.mean;
      case SloStat::p50:
        return mean.mean - 0.1 * std::min(spread, mean.mean);
      case SloStat::p90:
        return mean.mean + 0.45 * spread;
      case SloStat::p95:
        return mean.mean + 0.65 * spread;
      case SloStat::p99:
        return p99.mean;
    }
    return mean.mean;
  };
  if (metric == SloMetric::ttft) return pick(ttft_ms, ttft_p99_ms);
  if (metric == SloMetric::tpot) return pick(tpot_ms, tpot_p99_ms);
  return pick(e2e_ms, e2e_p99_ms);
}

}  // namespace shardwise
