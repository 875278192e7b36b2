#pragma once
#include "verify/verify.h"

namespace shardwise {

VerifyTopic eplb_topic();

}  // namespace shardwise
