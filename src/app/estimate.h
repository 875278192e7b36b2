#pragma once
// `estimate`: one configuration's step times by operator, and what they lead to; how much each bound matters.
#include "app/check.h"

namespace shardwise {

/// Relative change of TPOT when one thing grows by 1 %: -0.6 = "1 % more bandwidth, 0.6 % less TPOT".
struct Sensitivity {
  std::string of;
  double elasticity = 0;
};

struct EstimateAnswer {
  CheckAnswer check;
  StepBatch decode, prefill;  ///< the steps below, on one data-parallel rank
  Seconds decode_time, prefill_time;
  std::vector<OperatorTime> decode_step, prefill_step;  ///< largest first
  std::vector<Sensitivity> sensitivities;
};

EstimateAnswer estimate(const CheckRequest& request);

}  // namespace shardwise
