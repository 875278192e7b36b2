#pragma once
// `check`: a vLLM command as given -> does vLLM take it, what does it become, does it fit, what will it do, and which
// changes would gain what.
#include "app/answer.h"

namespace shardwise {

/// --hf-overrides change the model: answer.request.model is the changed one.
CheckAnswer check(const CheckRequest& request);

}  // namespace shardwise
