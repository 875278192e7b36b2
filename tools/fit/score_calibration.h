#pragma once
// What a calibration is worth: one low-load row of a measured run is calibrated on, the run's other rows are scored.
#include <functional>
#include <string>
#include <vector>

#include "cost/constants.h"
#include "measured/serving_rows.h"

namespace shardwise {

/// Markdown table of mean |error| before and after, over runs (model, GPU system, quantisation, version, campaign) that
/// have a row of at most 4 requests in flight a rank. `constants_of`, `bands_of`: coefficients and intervals that a
/// row's group had no part in.
std::string score_calibration(const std::vector<const ServingCase*>& rows,
                              const std::function<const CostConstants&(const ServingCase&)>& constants_of,
                              const std::function<const std::vector<BandRow>&(const ServingCase&)>& bands_of);

}  // namespace shardwise
