#pragma once
// `calibrate`: measurements of one vLLM command -> what they say about its machine.
#include <string>
#include <vector>

#include "app/check.h"
#include "measured/bench_result.h"
#include "measured/calibration.h"
#include "measured/serving_rows.h"

namespace shardwise {

/// The measured point as a case to price: the command that `served` checked, under the benchmark's load.
ServingCase bench_case(const CheckAnswer& served, const BenchResult& bench);

/// A measured number beside its prediction with the shipped constants and with the calibration.
struct CalibrationRow {
  std::string source, what, unit;
  double measured = 0;
  Interval before, after;
};

struct CalibrationAnswer {
  Calibration calibration;
  std::vector<CalibrationRow> rows;
  std::vector<std::string> notes;
};

/// Learns from measurements of one vLLM command. Throws InputError if the command does not start, or if nothing was
/// measured.
CalibrationAnswer calibrate_command(const CheckRequest& request, const std::vector<BenchResult>& benches,
                                    const std::vector<StartupLog>& logs);

}  // namespace shardwise
