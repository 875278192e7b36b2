#pragma once
// What `vllm bench serve` would have measured.
#include <cstdint>

#include "sim/simulate.h"
#include "sim/statistics.h"
#include "sim/timeline.h"

namespace shardwise {

/// A finished request as its client saw it.
struct MeasuredRequest {
  Nanoseconds start = 0, door = 0, scheduled = 0, first = 0, end = 0;
  int prompt = 0, output = 0;
};

class Measurements {
 public:
  explicit Measurements(const std::vector<Slo>& slos) : slos_(slos) {}
  void add(const MeasuredRequest& request);
  void add_gap(Nanoseconds gap, std::int64_t count = 1) { itl_.add(gap, count); }
  /// Fills latencies, throughputs, goodput and SLO outcomes.
  void write(SimulationResult& result, const Timeline& timeline);

 private:
  struct Metric {
    Distribution values;
    BatchMeans batches;
    void add(Nanoseconds v) {
      values.add(v);
      batches.add(static_cast<double>(v));
    }
  };
  const std::vector<Slo>& slos_;
  Metric ttft_, tpot_, e2e_, queue_;
  GapDistribution itl_;
  std::int64_t completed_ = 0, good_ = 0, input_tokens_ = 0, output_tokens_ = 0;
  Nanoseconds start_ = 0, end_ = 0;
};

}  // namespace shardwise
