#pragma once
#include "verify/verify.h"

namespace shardwise {

VerifyTopic ranks_topic();
VerifyTopic experts_topic();

}  // namespace shardwise
