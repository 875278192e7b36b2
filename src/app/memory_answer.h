#pragma once
// `memory`: what every rank of a vLLM command holds, what is left for KV, and what would change it.
#include "app/answer.h"

namespace shardwise {

MemoryAnswer memory_answer(const CheckRequest& request);

}  // namespace shardwise
