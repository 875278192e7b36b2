#include "sim/measurements.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace shardwise {
namespace {

constexpr std::size_t kCdfPoints = 101;

LatencySummary summarize(const Distribution& values, std::optional<double> half_width) {
  LatencySummary s;
  s.count = values.count();
  s.mean = values.mean() * 1e-9;
  s.median = values.quantile(0.5) * 1e-9;
  s.p90 = values.quantile(0.9) * 1e-9;
  s.p95 = values.quantile(0.95) * 1e-9;
  s.p99 = values.quantile(0.99) * 1e-9;
  s.max = to_seconds(values.max());
  if (half_width) s.mean_half_width = *half_width * 1e-9;
  for (std::size_t i = 0; i < kCdfPoints && s.count > 0; ++i)
    s.cdf.push_back(values.quantile(static_cast<double>(i) / (kCdfPoints - 1)) * 1e-9);
  return s;
}

std::optional<double> share_of(SloStat stat) {
  switch (stat) {
    case SloStat::mean:
      return std::nullopt;
    case SloStat::p50:
      return 0.5;
    case SloStat::p90:
      return 0.9;
    case SloStat::p95:
      return 0.95;
    case SloStat::p99:
      return 0.99;
  }
  return std::nullopt;
}

/// The order statistics between which the quantile of the distribution itself lies with 90 %: ranks that a binomial
/// count leaves between its 5 % and 95 % points.
SloOutcome outcome(const Slo& slo, const LatencySummary& m, const Distribution& values) {
  SloOutcome o{slo, m.quantile(slo.stat), 0, 0, m.count > 0 && m.quantile(slo.stat) <= slo.limit.value};
  o.lo = o.value - m.mean_half_width.value_or(0), o.hi = o.value + m.mean_half_width.value_or(0);
  if (const auto p = share_of(slo.stat); p && m.count > 0) {
    const double error = 1.645 * std::sqrt(*p * (1 - *p) / static_cast<double>(m.count));
    o.lo = 1e-9 * values.quantile(std::max(0.0, *p - error)), o.hi = 1e-9 * values.quantile(std::min(1.0, *p + error));
  }
  return o;
}

}  // namespace

std::string value_text(const SloOutcome& o) {
  const int decimals = o.value >= 0.1 ? 0 : o.value >= 0.01 ? 1 : 2;
  return fmt::format("{:.{}f} ms ({:.{}f} to {:.{}f})", 1e3 * o.value, decimals, 1e3 * o.lo, decimals, 1e3 * o.hi,
                     decimals);
}

double LatencySummary::quantile(SloStat stat) const {
  switch (stat) {
    case SloStat::mean:
      return mean;
    case SloStat::p50:
      return median;
    case SloStat::p90:
      return p90;
    case SloStat::p95:
      return p95;
    case SloStat::p99:
      return p99;
  }
  return 0;
}

bool SimulationResult::slos_met() const {
  return std::all_of(slos.begin(), slos.end(), [](const SloOutcome& s) { return s.met; });
}

void Measurements::add(const MeasuredRequest& r) {
  const Nanoseconds ttft = r.first - r.start, e2e = r.end - r.start;
  const Nanoseconds tpot = r.output > 1 ? (e2e - ttft) / (r.output - 1) : 0;
  ttft_.add(ttft);
  e2e_.add(e2e);
  if (r.output > 1) tpot_.add(tpot);
  queue_.add(std::max<Nanoseconds>(0, r.scheduled - r.door));
  start_ = completed_ == 0 ? r.start : std::min(start_, r.start);
  end_ = std::max(end_, r.end);
  ++completed_;
  input_tokens_ += r.prompt;
  output_tokens_ += r.output;
  bool good = true;
  for (const Slo& slo : slos_) {
    const Nanoseconds value = slo.metric == SloMetric::ttft ? ttft : slo.metric == SloMetric::tpot ? tpot : e2e;
    good = good && to_seconds(value) <= slo.limit.value;
  }
  good_ += good;
}

void Measurements::write(SimulationResult& r, const Timeline& timeline) {
  r.completed = completed_;
  r.duration = to_seconds(end_ - start_);
  r.input_tokens = input_tokens_;
  r.output_tokens = output_tokens_;
  r.ttft = summarize(ttft_.values, ttft_.batches.half_width());
  r.tpot = summarize(tpot_.values, tpot_.batches.half_width());
  r.e2e = summarize(e2e_.values, e2e_.batches.half_width());
  r.queue = summarize(queue_.values, queue_.batches.half_width());
  r.itl = summarize(itl_.values(), 0);
  const double seconds = std::max(r.duration, 1e-9);
  r.request_throughput = static_cast<double>(completed_) / seconds;
  r.output_throughput = static_cast<double>(output_tokens_) / seconds;
  r.total_token_throughput = static_cast<double>(input_tokens_ + output_tokens_) / seconds;
  r.output_throughput_half_width = timeline.rate_half_width(start_, end_);
  r.request_goodput = static_cast<double>(good_) / seconds;
  r.goodput_share = completed_ > 0 ? static_cast<double>(good_) / static_cast<double>(completed_) : 0;
  for (const Slo& slo : slos_) {
    if (slo.metric == SloMetric::ttft) r.slos.push_back(outcome(slo, r.ttft, ttft_.values));
    if (slo.metric == SloMetric::tpot) r.slos.push_back(outcome(slo, r.tpot, tpot_.values));
    if (slo.metric == SloMetric::e2e) r.slos.push_back(outcome(slo, r.e2e, e2e_.values));
  }
}

}  // namespace shardwise
