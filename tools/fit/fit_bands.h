#pragma once
// The intervals of data/calibration/bands.csv from residuals of measured rows, and how many measurements they hold.
#include <string>
#include <vector>

#include "cost/bands.h"

namespace shardwise {

/// One measured number and its prediction by coefficients that its group had no part in, or by those of all rows.
struct Residual {
  BandMetric metric;
  double measured = 0, predicted = 0;
  BandSlice slice;
  std::string gpu, shape;    ///< the combination
  std::string group;         ///< (model, GPU system)
  std::string architecture;  ///< and GPU generation, for the table
};

/// Rows for any combination, from residuals of left-out groups but `except` ("" = all). Groups count alike, not rows:
/// an interval is asked for a group that nobody measured, and the errors of one group have most of their causes in
/// common. `level` is the nominal share between the quantiles.
std::vector<BandRow> transfer_bands(const std::vector<Residual>& left_out, BandMetric metric, double level,
                                    const std::string& except);

/// The least level whose intervals, each made without the group it is asked for, hold nine tenths of the measurements
/// and eight tenths of those of every slice: a few groups' quantiles are narrower than those of all groups there could
/// be.
double transfer_level(const std::vector<Residual>& left_out, BandMetric metric);

/// Rows of each combination of model and GPU with enough measurements, from the residuals of the fit that saw them.
std::vector<BandRow> own_bands(const std::vector<Residual>& seen, BandMetric metric);

/// Markdown: share of measurements inside intervals that their group, or a fifth of their combination's rows, had no
/// part in; slices of at least 40 rows.
std::string coverage_report(const std::vector<Residual>& left_out, const std::vector<Residual>& seen);

}  // namespace shardwise
