#pragma once
// Recurrent states as KV cache: shapes and types of one rank (model_executor/layers/mamba/mamba_utils.py).
#include <string>

#include "memory/kv_spec.h"
#include "model/model.h"

namespace shardwise {

/// Fills the state tensors of `spec`. `num_spec`: speculative tokens, which widen the convolution; `conv`, `ssm`: types
/// of the convolution window and of the recurrent state.
void fill_state(KvSpec& spec, const LinearAttention& attention, int tp, int num_spec, KvDType conv, KvDType ssm);

/// vLLM's name of the backend that runs such layers.
const char* state_backend(const LinearAttention& attention);

}  // namespace shardwise
