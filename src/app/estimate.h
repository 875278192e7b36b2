#pragma once
// `estimate`: one configuration's step times by operator, and what they lead to; how much each bound matters.
#include "app/answer.h"

namespace shardwise {

EstimateAnswer estimate(const CheckRequest& request);

}  // namespace shardwise
