#pragma once
// Memory that vLLM needs beside weights and KV cache when it starts: the peak of its profile run, what lies outside
// PyTorch, and CUDA graphs. Physics with few coefficients, fitted on start-up logs (data/calibration/startup.csv).
#include <string_view>

#include "base/units.h"
#include "hardware/generations.h"
#include "memory/memory_plan.h"
#include "model/model.h"
#include "parallel/engine_config.h"

namespace shardwise {

/// What the terms are linear in, for one pipeline stage on one rank. GiB where not said otherwise.
struct StartupFeatures {
  double logits = 0;           ///< logits of one sampling step, 10^9 elements; 0 on stages that compute none
  double hidden = 0;           ///< max_num_batched_tokens x hidden, model dtype
  double mlp = 0;              ///< the same tokens x (gate, up and product of the widest MLP on one rank)
  double moe = 0;              ///< tokens x top-k rows in the two workspaces of the fused experts
  double hyper = 0;            ///< the same tokens x 4 residual streams in float32 (hyper-connections of DeepSeek-V4)
  double mla = 0;              ///< 1 where layers are MLA: their decode kernels keep workspaces in the graphs
  double vision = 0;           ///< 1 where a vision tower is profiled
  double encoder = 0;          ///< patches of its largest image x (QKV on one rank and hidden), 2 bytes an element
  double mxfp4 = 0;            ///< 1 where Hopper's Triton kernels run MXFP4 experts
  int layers = 0, graphs = 0;  ///< of this stage; captured batch sizes
};

StartupFeatures startup_features(const Model& model, const EngineConfig& engine, const Gpu& gpu, int first_layer,
                                 int last_layer);

struct StartupTerms {
  Bytes activation, non_torch;
  Bytes cuda_graph;           ///< captured graphs, estimate
  Bytes cuda_graph_reserved;  ///< what the version takes off the KV budget for them (0 before 0.20)
};

StartupTerms startup_terms(const StartupFeatures& features, const EngineConfig& engine, const Gpu& gpu);

/// Memory that is taken when a worker looks at its GPU first: CUDA context, and communicators of ranks over NVSwitch.
Bytes taken_at_start(const EngineConfig& engine, const Gpu& gpu);

/// The row of the coefficient table that gives the memory outside PyTorch: non_torch_single, _pipeline, _switch (two
/// ranks over NVSwitch), _switch_wide (more: NCCL then keeps buffers for in-switch reduction), _pcie or _unified (GPU
/// and host share memory: what the host takes meanwhile counts).
std::string_view non_torch_term(const EngineConfig& engine, const Gpu& gpu);

/// The row that gives the bytes per logit of the sampler's peak: logits_bytes, or logits_bytes_small_gpu.
std::string_view logits_term(const EngineConfig& engine, const Gpu& gpu);

/// Standard deviation of the KV memory, GiB, of an engine that has `kv_gib`.
double kv_sigma_gib(double kv_gib, const EngineConfig& engine);

/// Captured sizes that vLLM chooses by itself: 1, 2, 4, then steps of 8 and from 256 of 16 (config/vllm.py).
int default_graph_count(std::int64_t max_num_seqs, int num_speculative_tokens, VllmVersion version,
                        const GpuGeneration& generation);

/// gpu_memory_utilization that the version uses when none is given.
double default_gpu_memory_utilization(VllmVersion version);

/// A coefficient of data/calibration/startup.csv as of `version`.
double startup_coefficient(std::string_view name, VllmVersion version);

}  // namespace shardwise
