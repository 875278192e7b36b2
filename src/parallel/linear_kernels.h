#pragma once
// Which kernel vLLM picks for a linear layer (model_executor/kernels/linear, 0.32).
#include <cstdint>
#include <string>
#include <string_view>

#include "model/model.h"

namespace shardwise {

/// The part of a matrix that one rank holds.
struct LinearShape {
  std::int64_t out = 0, in = 0;
};

/// "method class:kernel class" in vLLM's names, of a layer stored by `scheme` on a GPU of NVIDIA's. `quant_method`:
/// vLLM's word for the checkpoint's quantisation.
std::string linear_kernel(const QuantScheme& scheme, std::string_view quant_method, int compute_capability,
                          LinearShape shape);

}  // namespace shardwise
