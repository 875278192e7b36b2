#include "sim/max_rate.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/input_error.h"

namespace shardwise {
namespace {

constexpr std::int64_t kLeastRequests = 200, kMostRequests = 20'000;

/// Whether the last answer came when it should have: with the last arrival and the time that a request takes alone, and
/// not when a queue was worked off.
bool keeps_up(const SimulationResult& r, double rate) {
  const double due = static_cast<double>(r.completed) / rate;
  return r.completed > 0 && r.duration <= 1.05 * due + 3 * r.e2e.cdf[1];
}

}  // namespace

MaxRate max_rate_under_slo(const SimulationConfig& config, const Workload& workload, const StepTime& step_time,
                           std::uint64_t seed, double start, double tolerance) {
  if (workload.slos.empty())
    throw InputError("", 0, "slos", "a highest rate needs an SLO", "for example ttft:p99<500ms");
  if (workload.trace && !workload.request_rate)
    throw InputError("", 0, "trace", "all its requests come at once: it has no rate", "a trace with times");
  if (!(start > 0 && tolerance > 0)) throw InputError("", 0, "request_rate", "start and tolerance must be above 0");
  constexpr int kDoublings = 24;
  constexpr int kHalvings = 12;  // by then requests hardly meet: a lower rate changes nothing
  Workload w = workload;
  w.concurrency.reset();
  w.ramp_up.reset();
  // A trace keeps its pattern: its clock runs faster or slower.
  const double trace_rate = workload.trace ? *workload.request_rate * workload.time_scale : 0;
  if (w.arrivals == Arrivals::closed_loop || w.arrivals == Arrivals::burst) w.arrivals = Arrivals::poisson;
  MaxRate best;
  SimulationConfig c = config;
  // Refused requests count as missed: they got no answer at all.
  const auto holds = [&](double rate) {
    w.request_rate = rate;
    if (w.trace) w.time_scale = trace_rate / rate;
    if (!config.num_requests && !w.trace)
      c.num_requests = std::clamp(std::llround(rate * kMaxRateRun.value), static_cast<long long>(kLeastRequests),
                                  static_cast<long long>(kMostRequests));
    ++best.simulations;
    SimulationResult r = simulate(c, w, step_time, seed);
    if (!r.slos_met() || r.failed > 0 || !keeps_up(r, rate)) return false;
    best.request_rate = rate;
    best.goodput_share = r.goodput_share;
    best.result = std::move(r);
    return true;
  };
  double good = 0, bad = 0;
  if (holds(start)) {
    good = start;
    for (int i = 0; i < kDoublings && bad == 0; ++i) {
      if (holds(good * 2)) {
        good *= 2;
      } else {
        bad = good * 2;
      }
    }
    if (bad == 0) {
      best.bounded = false;
      return best;
    }
  } else {
    bad = start;
    for (int i = 0; i < kHalvings && good == 0; ++i) {
      if (holds(bad / 2)) {
        good = bad / 2;
      } else {
        bad /= 2;
      }
    }
    if (good == 0) return best;
  }
  while (bad - good > tolerance * good) {
    const double middle = (good + bad) / 2;
    (holds(middle) ? good : bad) = middle;
  }
  return best;
}

}  // namespace shardwise
