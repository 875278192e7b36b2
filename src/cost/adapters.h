#pragma once
// What LoRA adapters add to a step: two small GEMMs beside every module that vLLM wraps (vllm/lora/punica_wrapper).
#include "cost/compiled_step.h"
#include "cost/layer_tables.h"
#include "memory/weight_program.h"

namespace shardwise {

/// Every request of the step has an adapter, and as many adapters are active as there are slots or tokens.
AdapterTimes adapter_times(const LayerContext& context, const WeightProgram& weights);

}  // namespace shardwise
