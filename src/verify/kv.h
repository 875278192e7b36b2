#pragma once
#include "verify/verify.h"

namespace shardwise {

/// Recorded KV-cache specs and plans, of models or of given specs (docs/formats/verify.md).
VerifyTopic verify_kv_topic();

}  // namespace shardwise
