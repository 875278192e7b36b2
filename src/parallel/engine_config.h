#pragma once
// A vLLM engine as resolved: what memory and cost compute from. Field names are vLLM's.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "base/version.h"

namespace shardwise {

enum class ExpertPlacement { linear, round_robin };
const char* to_string(ExpertPlacement placement);
enum class DpLoadBalancing { internal, hybrid, external };

/// GPUs = tensor x pipeline x prefill-context x data. EP is derived and adds none.
struct ParallelConfig {
  int tensor_parallel_size = 1;
  int pipeline_parallel_size = 1;
  int prefill_context_parallel_size = 1;
  int decode_context_parallel_size = 1;
  int data_parallel_size = 1;
  bool enable_expert_parallel = false;
  ExpertPlacement expert_placement_strategy = ExpertPlacement::linear;  ///< as asked for
  bool enable_eplb = false;
  int num_redundant_experts = 0;
  std::string all2all_backend = "allgather_reducescatter";
  std::vector<int> pp_layer_partition;  ///< VLLM_PP_LAYER_PARTITION; empty = vLLM's default split

  int world_size() const { return tensor_parallel_size * pipeline_parallel_size * prefill_context_parallel_size; }
  int gpus() const { return world_size() * data_parallel_size; }
  /// Ranks that share the experts of one stage; 1 when expert parallel is off.
  int expert_parallel_size() const {
    return enable_expert_parallel ? tensor_parallel_size * prefill_context_parallel_size * data_parallel_size : 1;
  }
  friend bool operator==(const ParallelConfig&, const ParallelConfig&) = default;
};

/// Weights of layers that lie in pinned host memory (config/offload.py).
struct OffloadConfig {
  enum class Backend {
    none,
    uva,      ///< kernels read them over the bus
    prefetch  ///< copied into buffers ahead of their layer
  } backend = Backend::none;
  Bytes cpu_offload_max_bytes;                              ///< uva: of one GPU
  int group_size = 0, num_in_group = 1, prefetch_step = 1;  ///< prefetch: layers
  std::vector<std::string> params;                          ///< segments of parameter names; empty = all
  friend bool operator==(const OffloadConfig&, const OffloadConfig&) = default;
};

/// Slots for LoRA adapters (config/lora.py).
struct LoraConfig {
  int max_loras = 1, max_lora_rank = 16;
  bool fully_sharded_loras = false, specialize_active_lora = false, enable_moe_shared_loras = false,
       enable_mixed_moe_lora_format = false;
  int element_bytes = 2;                                   ///< of lora_dtype
  std::optional<std::vector<std::string>> target_modules;  ///< nullopt = all that vLLM can wrap
  friend bool operator==(const LoraConfig&, const LoraConfig&) = default;
};

enum class CudagraphMode { none, piecewise, full, full_decode_only, full_and_piecewise };

struct EngineConfig {
  VllmVersion vllm_version = kDefaultVllmVersion;
  ParallelConfig parallel;
  ExpertPlacement effective_placement = ExpertPlacement::linear;  ///< after vLLM's silent fallbacks
  std::int64_t max_model_len = 0;
  bool auto_fit_max_model_len = false;  ///< --max-model-len auto: shortened to what fits
  std::int64_t max_num_batched_tokens = 8192;
  std::int64_t max_num_seqs = 1024;
  std::optional<int> block_size;        ///< nullopt = what the backend chooses
  std::string kv_cache_dtype = "auto";  ///< vLLM's words: auto, bfloat16, fp8, fp8_e4m3, fp8_e5m2 ...
  double gpu_memory_utilization = 0.92;
  std::optional<std::int64_t> kv_cache_memory_bytes;
  bool enforce_eager = false;
  CudagraphMode cudagraph_mode = CudagraphMode::full_and_piecewise;
  std::vector<int> cudagraph_capture_sizes;  ///< ascending; empty = no graphs
  bool enable_chunked_prefill = true;
  bool enable_prefix_caching = true;
  bool async_scheduling = true;
  int num_speculative_tokens = 0;    ///< MTP / draft tokens per step; 0 = off
  std::string speculative_method;    ///< ngram, draft_model, eagle, mtp ...; empty: off, or mtp where tokens are given
  bool language_model_only = false;  ///< the vision tower is not loaded
  OffloadConfig offload;
  std::optional<LoraConfig> lora;                ///< nullopt = no adapters
  std::optional<std::int64_t> max_image_pixels;  ///< what mm_processor_kwargs allows; nullopt = the checkpoint's own
  /// The draft is the model's own MTP layers, not a model of its own or n-grams.
  bool draft_is_mtp() const { return speculative_method.empty() || speculative_method == "mtp"; }
  friend bool operator==(const EngineConfig&, const EngineConfig&) = default;
};

/// [first, last) layer of every pipeline stage: vLLM's get_pp_indices (distributed/utils.py), or the given partition.
std::vector<std::pair<int, int>> pp_layers(int num_hidden_layers, const ParallelConfig& parallel);

/// A deployment as users write it: "TP2 x DP4", "TP8 x PP2 + EP16 round_robin" (from the table of dimensions).
std::string to_string(const ParallelConfig& parallel);

}  // namespace shardwise
