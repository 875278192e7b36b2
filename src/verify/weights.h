#pragma once
#include "verify/verify.h"

namespace shardwise {
/// Topic `weights`: per-rank parameters and buffers (weights, draft, post_load, refusals of tests/golden/weights).
VerifyTopic weights_topic();
}  // namespace shardwise
