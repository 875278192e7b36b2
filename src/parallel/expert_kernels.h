#pragma once
// Which kernel vLLM picks for layers of experts, and which layouts none of them takes
// (model_executor/layers/fused_moe/oracle/*.py and the classes of experts/*.py, 0.32).
#include <optional>
#include <string_view>

#include "hardware/generations.h"
#include "model/model.h"
#include "parallel/engine_config.h"
#include "parallel/model_facts.h"

namespace shardwise {

/// What vLLM's choice depends on, beside the layer itself.
struct ExpertKernelQuery {
  const MoeFfn* moe = nullptr;
  QuantScheme scheme = {};             ///< of the routed experts
  std::string_view quant_method = {};  ///< vLLM's word: "fp8", "modelopt_fp4" ...; "" = none
  bool gpt_oss = false;                ///< MXFP4 experts of gpt-oss go by a list of their own
  int hidden_size = 0;
  ParallelConfig parallel = {};
  bool sequence_parallel = false;
  bool lora = false;            ///< adapters of experts
  bool online = false;          ///< quantised while the weights are read
  int compute_capability = 90;  ///< of a GPU of NVIDIA's
};

/// Names are vLLM's.
struct ExpertKernel {
  std::string_view method, moe_backend, experts;
  bool use_all2all_kernels = false, use_batched_activation_format = false;
};

/// The first backend of vLLM's order that takes the layer; nullopt: none does, vLLM does not start.
std::optional<ExpertKernel> choose_expert_kernel(const ExpertKernelQuery& query);

/// The question of a model's experts in a layout. `model.experts` must be there.
ExpertKernelQuery expert_query(const ModelFacts& model, const ParallelConfig& parallel, bool sequence_parallel,
                               std::string_view quantisation, int compute_capability);

/// vLLM's function that chooses for such a layer: "select_nvfp4_moe_backend" ...; "" where the scheme has none here.
std::string_view expert_kernel_oracle(const ExpertKernelQuery& query);

}  // namespace shardwise
