#pragma once
// Slots for LoRA adapters on one rank: vllm/lora/layers/*.py create_lora_weights, beside every module that
// vllm/lora/model_manager.py wraps.
#include <cstdint>
#include <string>
#include <vector>

#include "base/units.h"
#include "base/version.h"
#include "memory/weight_program.h"
#include "parallel/engine_config.h"

namespace shardwise {

/// The two factors of one module's adapter on one rank, elements for a rank of one: `a` is read with the module's
/// input, `b` makes its output.
struct AdapterFactors {
  double a = 0, b = 0;
  double in = 0, out = 0;  ///< elements of a token that its kernels read and add to; of experts: for each that it picks
  bool experts = false;
};

/// Of one layer's modules, those without adapters left out; of experts all of this rank.
std::vector<AdapterFactors> adapter_factors(const LayerProgram& layer, const WeightLayout& layout,
                                            const LoraConfig& config, VllmVersion version);

/// All slots of the rank. Embedding and head have theirs where the model's class says so.
Bytes lora_bytes(const WeightProgram& program, const WeightLayout& layout, const LoraConfig& config,
                 VllmVersion version);

/// CUDA graphs of one size: without adapters, and by how many are active (v1/cudagraph_dispatcher.py _get_lora_cases).
int lora_graph_cases(const LoraConfig& config);

}  // namespace shardwise
