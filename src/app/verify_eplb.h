#pragma once
#include "app/verify.h"

namespace shardwise {

VerifyTopic eplb_topic();

}  // namespace shardwise
