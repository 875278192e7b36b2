#pragma once
// Weights of one rank that lie in host memory (model_executor/offloader/uva.py and prefetch.py).
#include <vector>

#include "base/units.h"
#include "base/version.h"
#include "memory/weight_program.h"
#include "parallel/engine_config.h"

namespace shardwise {

/// What one layer has in host memory, as the GPU reads or copies it.
struct OffloadedLayer {
  int layer = 0;
  Bytes bytes;           ///< routed experts among them
  Bytes routed_experts;  ///< of which a step reads those that its tokens chose, where kernels read them in place
};

struct OffloadedWeights {
  std::vector<OffloadedLayer> layers;  ///< those with something in host memory, in their order
  Bytes vision;                        ///< of the vision tower
  Bytes buffers;                       ///< on the GPU: where layers are copied to
  Bytes total() const;                 ///< in host memory
  Bytes as_built;                      ///< what vLLM's log says of that: before loading changes sizes
};

/// Of the rank that `layout` describes. Sizes are those of loaded weights.
OffloadedWeights offloaded_weights(const WeightProgram& program, const WeightLayout& layout,
                                   const OffloadConfig& config, VllmVersion version);

}  // namespace shardwise
