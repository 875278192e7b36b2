#pragma once
// What is asked of the deployment: lengths, arrivals, prefix sharing, SLOs and the goal.
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "base/units.h"

namespace shardwise {

/// Lengths in tokens. "1024", "uniform[819,1024]" (both ends included), "lognormal[mean=1024,sigma=0.6]",
/// "percentiles[p50=900,p90=2000,p99=8000]" (linear between the points; from 1 token at p0 unless p0 is given; the last
/// point is the longest), "empirical[3:100,1:2000]" (weight:tokens). "random[1024,0.5]" is read as the uniform
/// distribution that `vllm bench serve --random-range-ratio 0.5` draws from.
struct LengthDistribution {
  enum class Kind { constant, uniform, lognormal, percentiles, empirical } kind = Kind::constant;
  double a = 0, b = 0;                            ///< constant: a; uniform: [a, b]; lognormal: mean a, sigma b (of ln)
  std::vector<std::pair<double, double>> points;  ///< percentiles: (p in 0..1, tokens); empirical: (weight, tokens)
  double mean() const;
  double quantile(double p) const;      ///< p in [0, 1]
  double second_moment() const;         ///< E[L^2]
  std::int64_t max() const;             ///< longest length that can occur (p99.9 where unbounded)
  std::int64_t sample(Rng& rng) const;  ///< >= 1 and <= max()
  friend bool operator==(const LengthDistribution&, const LengthDistribution&) = default;
};
LengthDistribution parse_length(std::string_view text, const std::string& flag);
std::string to_string(const LengthDistribution& lengths);  ///< parse_length reads the same value back

enum class SloMetric { ttft, tpot, e2e };
enum class SloStat { mean, p50, p90, p95, p99 };
/// "ttft:p99<500ms"
struct Slo {
  SloMetric metric;
  SloStat stat;
  Seconds limit;
  friend bool operator==(const Slo&, const Slo&) = default;
};
Slo parse_slo(std::string_view text, const std::string& flag);
std::string to_string(const Slo& slo);

struct RequestLengths {
  int prompt = 1, output = 1;  ///< tokens
};

struct TraceRequest {
  double arrival = 0;                   ///< seconds from the start
  std::int64_t prompt = 0, output = 0;  ///< tokens
  std::vector<std::uint64_t>
      prefix;  ///< ids of shared prompt blocks, first block first (Mooncake hash_ids); empty = none
  friend bool operator==(const TraceRequest&, const TraceRequest&) = default;
};
struct Trace {
  std::vector<TraceRequest> requests;  ///< sorted by arrival
  int prefix_block = 512;              ///< tokens per id in `prefix`
  friend bool operator==(const Trace&, const Trace&) = default;
};

enum class Arrivals { closed_loop, poisson, gamma, burst };

/// The rate goes from start_rps to end_rps over the requests (`vllm bench serve --ramp-up-strategy`).
struct RateRamp {
  enum class Strategy { linear, exponential } strategy = Strategy::linear;
  double start_rps = 1, end_rps = 1;
  friend bool operator==(const RateRamp&, const RateRamp&) = default;
};

struct Workload {
  LengthDistribution isl, osl;
  Arrivals arrivals = Arrivals::closed_loop;
  std::optional<int> concurrency;             ///< closed loop: requests in flight on the whole deployment
  std::optional<double> request_rate;         ///< open loop: requests/s on the whole deployment
  double burstiness = 1.0;                    ///< gamma shape as in vllm bench serve; 1 = Poisson
  std::optional<RateRamp> ramp_up;            ///< open loop; request_rate is then its mean
  double prefix_share = 0;                    ///< share of each prompt that is common to its group, 0..1
  std::optional<std::int64_t> prefix_tokens;  ///< the same in tokens; prefix_share is then the mean share
  int prefix_groups = 1;
  int turns = 1;                       ///< of a session: each later prompt is all before and new text of isl tokens
  Seconds think_time{};                ///< between a session's answer and its next turn
  std::shared_ptr<const Trace> trace;  ///< replaces lengths and arrivals
  double time_scale = 1;               ///< of trace arrivals: 2 = twice as slow
  std::vector<Slo> slos;
  bool as_benchmark = false;  ///< predictions count the opening burst and the drain, as vllm bench serve does; else the
                              ///< steady state between them
  /// Whether a plan can be too slow for it.
  bool has_limits() const { return !slos.empty() || request_rate; }
};

enum class Goal { throughput, latency, cost, balanced };
Goal parse_goal(std::string_view text, const std::string& flag);
std::string to_string(Goal goal);

/// Trace text by its form: JSONL (arrival, prompt, output, prefix), Mooncake JSONL (timestamp, input_length,
/// output_length, hash_ids), Azure CSV (TIMESTAMP,ContextTokens,GeneratedTokens). Strict; errors name file and line.
Trace read_trace(std::string_view text, const std::string& file);
/// The trace in our own JSONL form; read_trace reads the same value back.
std::string trace_jsonl(const Trace& trace);
/// Lengths, mean rate, burstiness and share of prompt tokens seen before (prefix_share, as with an endless cache) of a
/// trace as distributions, for the closed-form estimates. The trace must have a request.
Workload workload_of(std::shared_ptr<const Trace> trace);

}  // namespace shardwise
