#pragma once
// `memory`: what every rank of a vLLM command holds, what is left for KV, and what would change it.
#include "app/answer.h"

namespace shardwise {

/// Offloading that was asked for and that this version does not do; nullopt = none.
std::optional<std::string> ignored_offload_note(const Resolved& resolved);

/// What the host holds of the weights, for the answer's notes; nullopt = nothing.
std::optional<std::string> host_memory_note(const MemoryPlan& memory);

MemoryAnswer memory_answer(const CheckRequest& request);

}  // namespace shardwise
