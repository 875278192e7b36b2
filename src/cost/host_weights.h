#pragma once
// What weights in host memory add to a step: read over the bus by the kernels themselves, or copied ahead of their
// layer.
#include <vector>

#include "cost/compiled_step.h"
#include "cost/layer_tables.h"
#include "memory/weight_program.h"

namespace shardwise {

/// One stage of layers that are copied from host memory, in the terms of its step.
struct CopiedLayers {
  int layers = 0;            ///< of the stage
  std::vector<int> at;       ///< which of them are copied
  std::vector<double> copy;  ///< s of each
  int prefetch_step = 1;
};

/// Seconds of a step whose layers compute for `kernels` s in all. `joined`: a CUDA graph, at whose end every copy has
/// arrived (model_executor/offloader/prefetch.py join_after_forward); without one copies run on into the next step.
double step_with_copies(const CopiedLayers& stage, double kernels, bool joined);

/// Of every stage of the engine; all zero without an offloader.
HostWeights host_weights(const LayerContext& context, const WeightProgram& weights);

}  // namespace shardwise
