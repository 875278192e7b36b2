#pragma once
// Bytes of parameters that one rank constructs, by category, as vLLM's model classes lay them out.
#include "hardware/generations.h"
#include "memory/memory_plan.h"
#include "memory/offload.h"
#include "memory/weight_program.h"
#include "model/model.h"
#include "parallel/engine_config.h"

namespace shardwise {

/// The model's program, with its draft and what changes after loading.
WeightProgram weight_program(const Model& model);

/// Weights of global rank `rank` (order DP x PP x PCP x TP, TP fastest) under `engine`; the generation decides the
/// padding of some quantised kernels. No allocation beyond the result.
WeightBytes rank_weights(const WeightProgram& program, const Model& model, const EngineConfig& engine, int rank,
                         const GpuGeneration& generation);

/// What of them lies in host memory.
OffloadedWeights rank_offloaded(const WeightProgram& program, const Model& model, const EngineConfig& engine, int rank,
                                const GpuGeneration& generation);

/// What the program needs to know of `engine` for global rank `rank`.
WeightLayout weight_layout(const Model& model, const EngineConfig& engine, int rank, const GpuGeneration& generation);

}  // namespace shardwise
