#pragma once
#include "verify/verify.h"

namespace shardwise {

/// Traces of vLLM's scheduler (docs/simulator.md): every step, request outcome and prefix-cache count.
VerifyTopic verify_schedule_topic();

}  // namespace shardwise
