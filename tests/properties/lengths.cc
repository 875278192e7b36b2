// Length distributions and traces: round trips and laws over random inputs.
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "workload/workload.h"

using namespace shardwise;

namespace {

LengthDistribution any_lengths() {
  const int kind = *rc::gen::inRange(0, 5);
  auto token = [] { return static_cast<double>(*rc::gen::inRange(1, 200000)); };
  using Kind = LengthDistribution::Kind;
  if (kind == 0) return {Kind::constant, token(), 0, {}};
  if (kind == 1) {
    const double a = token(), b = token();
    return {Kind::uniform, std::min(a, b), std::max(a, b), {}};
  }
  if (kind == 2) return {Kind::lognormal, token(), *rc::gen::inRange(1, 3000) / 1000.0, {}};
  std::set<int> tokens;
  for (int n = *rc::gen::inRange(2, 8); n > 0; --n) tokens.insert(*rc::gen::inRange(1, 200000));
  LengthDistribution d{kind == 3 ? Kind::percentiles : Kind::empirical, 0, 0, {}};
  std::set<int> percents;
  while (percents.size() < tokens.size()) percents.insert(*rc::gen::inRange(0, 10001));
  auto percent = percents.begin();
  if (kind == 3 && *percent > 0) d.points.emplace_back(0.0, 1.0);
  for (const int t : tokens)
    d.points.emplace_back(kind == 3 ? (*percent++ / 100.0) / 100 : *rc::gen::inRange(1, 1000) / 8.0, t);
  return d;
}

}  // namespace

int main() {
  bool good = true;
  good &= rc::check("lengths read back", [] {
    const LengthDistribution d = any_lengths();
    RC_LOG() << to_string(d);
    RC_ASSERT(parse_length(to_string(d), "") == d);
  });
  good &= rc::check("the mean is the integral of the quantiles, the second moment that of their squares", [] {
    const LengthDistribution d = any_lengths();
    RC_PRE(d.kind != LengthDistribution::Kind::lognormal);  // its last quantile is cut
    constexpr int kSteps = 20000;
    double sum = 0, squares = 0;
    for (int i = 0; i < kSteps; ++i) {
      const double q = d.quantile((i + 0.5) / kSteps);
      sum += q / kSteps;
      squares += q * q / kSteps;
    }
    RC_ASSERT(std::abs(sum - d.mean()) < d.mean() * 2e-3 + 0.5);
    RC_ASSERT(std::abs(std::sqrt(squares) - std::sqrt(d.second_moment())) < std::sqrt(d.second_moment()) * 2e-3 + 1);
  });
  good &= rc::check("quantiles rise and stay below the longest length", [] {
    const LengthDistribution d = any_lengths();
    double last = 0;
    for (int i = 0; i <= 100; ++i) {
      const double q = d.quantile(i / 100.0);
      RC_ASSERT(q >= last && q <= static_cast<double>(d.max()) + 1e-9);
      last = q;
    }
  });
  good &= rc::check("a trace reads back", [] {
    Trace trace;
    trace.prefix_block = *rc::gen::inRange(1, 1000);
    double now = 0;
    for (int n = *rc::gen::inRange(1, 20); n > 0; --n) {
      now += *rc::gen::inRange(0, 1000000) / 999.0;
      TraceRequest request{now, *rc::gen::inRange(1, 100000), *rc::gen::inRange(1, 5000), {}};
      for (std::int64_t blocks = std::min<std::int64_t>(5, request.prompt / trace.prefix_block); blocks > 0; --blocks)
        request.prefix.push_back(*rc::gen::arbitrary<std::uint64_t>());
      trace.requests.push_back(request);
    }
    RC_ASSERT(read_trace(trace_jsonl(trace), "t") == trace);
    const Workload workload = workload_of(std::make_shared<Trace>(trace));
    RC_ASSERT(workload.prefix_share >= 0 && workload.prefix_share <= 1);
    double prompts = 0;
    for (const auto& request : trace.requests) prompts += static_cast<double>(request.prompt);
    RC_ASSERT(std::abs(workload.isl.mean() - prompts / static_cast<double>(trace.requests.size())) < 1e-6 * prompts);
  });
  return good ? 0 : 1;
}
