#pragma once
// Bytes of parameters that one rank constructs, by category, as vLLM's model classes lay them out.
#include <memory>

#include "hardware/generations.h"
#include "memory/memory_plan.h"
#include "memory/weight_program.h"
#include "model/model.h"
#include "parallel/engine_config.h"

namespace shardwise {

/// Weights of global rank `rank` (order DP x PP x PCP x TP, TP fastest) under `engine` on a GPU of `compute_capability`
/// (90 = 9.0, 100 = 10.0; decides the padding of some quantised kernels). No allocation beyond the result.
WeightBytes rank_weights(const Model& model, const EngineConfig& engine, int rank, const GpuGeneration& generation);

/// The model's weight program, compiled once per config and shared by all copies of the Model. Thread-safe.
std::shared_ptr<const WeightProgram> weight_program(const Model& model);

/// What the program needs to know of `engine` for global rank `rank`.
WeightLayout weight_layout(const Model& model, const EngineConfig& engine, int rank, const GpuGeneration& generation);

}  // namespace shardwise
