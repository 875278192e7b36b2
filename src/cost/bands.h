#pragma once
// 90 % intervals: multiplicative factors by slice, from residuals of measured rows.
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/units.h"

namespace shardwise {

enum class BandMetric { ttft, tpot, throughput };

/// What decides the slice of a prediction.
struct BandSlice {
  double concurrency = 1;   ///< per engine
  double ttft_ms = 0;       ///< predicted
  bool kv_limited = false;  ///< more requests offered than the KV cache holds
  bool open_loop = false;
  bool closed_form = false;                       ///< not simulated: how far that is from a simulated run comes on top
  double widen = 1;                               ///< factor on the half width in ln
  std::optional<std::uint64_t> combination = {};  ///< combination_of()
  double ttft_band = 1, tpot_band = 1;            ///< further factors: what a calibration narrows
};

/// One row of data/calibration/bands.csv.
struct BandRow {
  BandMetric metric;
  std::string gpu, shape;  ///< the measured combination whose own residuals these are; empty: any, of left-out groups
  double from, to;         ///< of band_coordinate()
  double lo, hi;           ///< ln(measured / predicted) at 5 % and 95 %
  std::optional<std::uint64_t> combination = {};  ///< combination_of(gpu, shape); nullopt: any
};

const std::vector<BandRow>& default_bands();
/// Key of a measured combination: Gpu::name and CompiledStepData::shape; nullopt without a shape.
std::optional<std::uint64_t> combination_of(std::string_view gpu, std::string_view shape);

struct CompiledStepData;
/// What the compiled step says of it; the load is the caller's.
BandSlice band_slice(const CompiledStepData& step);
std::string_view name_of(BandMetric metric);  ///< as bands.csv writes it

/// Requests in flight per engine (TPOT, throughput) or the predicted TTFT in ms.
double band_coordinate(BandMetric metric, const BandSlice& slice);
/// Factor on both ends (in ln) for what no measurement covers; calibrations apart.
double band_widening(BandMetric metric, const BandSlice& slice);

/// Interval around `mean` (same unit): the own residuals of a measured combination of model and GPU, else those of
/// groups that the fit did not see, widened.
Interval band(BandMetric metric, double mean, const BandSlice& slice,
              const std::vector<BandRow>& rows = default_bands());

/// Whether the interval of `slice` rests on measurements of this very combination.
bool measured_combination(BandMetric metric, const BandSlice& slice,
                          const std::vector<BandRow>& rows = default_bands());

}  // namespace shardwise
