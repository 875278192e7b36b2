#pragma once
// What serving looks like, whichever method says so.
#include <string>

#include "base/units.h"
#include "cost/bands.h"
#include "workload/workload.h"

namespace shardwise {

/// Steady state of one deployment under one load.
struct ServingEstimate {
  Interval ttft_ms, tpot_ms, e2e_ms;  ///< means
  Interval ttft_p99_ms, tpot_p99_ms, e2e_p99_ms;
  Interval output_tokens_per_second;  ///< whole deployment
  Interval output_tokens_per_second_per_gpu;
  double requests_per_second = 0;
  double running_per_engine = 0;  ///< mean sequences in flight on one DP rank
  double queue_ms = 0;
  double kv_utilisation = 0;                                 ///< of usable blocks
  double concurrency = 0;                                    ///< the load on the whole deployment this is for
  bool has_tpot = true;                                      ///< false: no request has a second token
  bool saturated = false;                                    ///< offered load is above what the deployment can serve
  BandSlice slice;                                           ///< what decided the intervals
  std::string band_reason;                                   ///< why the interval is as wide as it is
  double quantile_ms(SloMetric metric, SloStat stat) const;  ///< mean estimate of that statistic
};

/// "TPOT 28.4 ms", "no TPOT".
std::string tpot_words(const ServingEstimate& estimate);

/// The intervals around the means of an estimate, by its slice; `output_tokens`: mean of a request.
void set_intervals(ServingEstimate& estimate, double output_tokens);

}  // namespace shardwise
