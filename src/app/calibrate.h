#pragma once
// `calibrate`: measurements of one vLLM command -> what they say about its machine.
#include <vector>

#include "app/answer.h"
#include "measured/bench_result.h"
#include "measured/serving_rows.h"

namespace shardwise {

/// The measured point as a case to price: the command that `served` checked, under the benchmark's load.
ServingCase bench_case(const CheckAnswer& served, const BenchResult& bench);

/// Learns from measurements of one vLLM command. Throws InputError if the command does not start, or if nothing was
/// measured.
CalibrationAnswer calibrate_command(const CheckRequest& request, const std::vector<BenchResult>& benches,
                                    const std::vector<StartupLog>& logs);

}  // namespace shardwise
