#pragma once
// 90 % intervals: multiplicative factors by slice, from residuals of groups that the fit did not see.
#include <string>

#include "base/units.h"

namespace shardwise {

enum class BandMetric { ttft, tpot, throughput };

/// What decides the slice of a prediction.
struct BandSlice {
  double concurrency = 1;   ///< per engine
  double ttft_ms = 0;       ///< predicted
  bool kv_limited = false;  ///< more requests offered than the KV cache holds
  bool open_loop = false;
  double widen = 1;                     ///< factor on the half width in ln
  std::string architecture;             ///< dense | moe | moe-mla | hybrid
  double ttft_band = 1, tpot_band = 1;  ///< further factors: what a calibration narrows
};

/// Interval around `mean` (same unit) by data/calibration/bands.csv.
Interval band(BandMetric metric, double mean, const BandSlice& slice);

}  // namespace shardwise
