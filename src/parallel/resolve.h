#pragma once
// What vLLM makes of a set of arguments: a refusal with its rule, or every resolved value.
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "base/version.h"
#include "hardware/generations.h"
#include "parallel/engine_args.h"
#include "parallel/engine_config.h"
#include "parallel/model_facts.h"
#include "parallel/rules.h"

namespace shardwise {

enum class EntryMode { serve, offline };  ///< `vllm serve`, or the LLM class

/// The node that a command runs on.
struct NodeFacts {
  std::string gpu_name = "NVIDIA H100 80GB HBM3";  ///< as the driver reports it (A100 is matched by name)
  std::int64_t memory_bytes = std::int64_t{81559} << 20;
  std::string vendor = "nvidia";  ///< Gpu::vendor
  int capability = 90;            ///< 90 = 9.0
  int gpus = 8;                   ///< visible to the command
  /// GPUs that old versions count through the driver (CUDA_VISIBLE_DEVICES respected); nullopt = `gpus`. Matters for
  /// the world-size check before 0.17.
  std::optional<int> stateless_gpus;
  bool ray_installed = false;
  bool nixl_installed = false;
  bool triton_usable = true;  ///< Model Runner V2 needs it
  std::string host_ip = "10.0.0.1";
  bool cuda() const { return vendor == "nvidia"; }
  bool rocm() const { return vendor == "amd"; }
};

/// What vLLM's checks see of a node of `gpus` GPUs; ray is there for whoever asks for it (ray_note).
NodeFacts node_facts(const Gpu& gpu, int gpus);
inline const GpuGeneration& generation_of(const NodeFacts& node) { return generation_of(node.vendor, node.capability); }

/// Environment variables that the command sees.
using Environment = std::map<std::string, std::string, std::less<>>;

/// Process groups of one node's command. Absent fields do not apply.
struct Launch {
  std::optional<std::string> executor;  ///< class name; nullopt: this command starts no executor of its own
  struct Engines {
    int count = 0;
    std::optional<int> start_dp_rank, local_start;
  };
  std::optional<Engines> local_engines;
  bool dp_coordinator = false, headless_workers_only = false, ray_actors = false, dp_supervisor = false;
  bool served = false;                           ///< through `vllm serve`
  std::optional<std::int64_t> api_server_count;  ///< nullopt = one server in the main process
  std::optional<std::string> engine_core;        ///< EngineCoreProc | DPEngineCoreProc; nullopt: none here
  /// DP rank -> CUDA index of each of its workers on this node.
  std::vector<std::pair<int, std::vector<int>>> worker_devices;
};

/// Values under vLLM's names.
struct Resolved {
  VllmVersion version;
  std::int64_t tensor_parallel_size = 1, pipeline_parallel_size = 1, prefill_context_parallel_size = 1,
               decode_context_parallel_size = 1;
  std::int64_t world_size = 1, world_size_across_dp = 1;
  bool is_moe = false;
  std::int64_t ep_size = 1;
  std::int64_t data_parallel_size = 1, data_parallel_size_local = 1, data_parallel_rank = 0;
  std::optional<std::int64_t> data_parallel_rank_local;
  std::string data_parallel_backend = "mp", data_parallel_master_ip = "127.0.0.1";
  bool data_parallel_external_lb = false, data_parallel_hybrid_lb = false;
  std::string distributed_executor_backend;
  std::int64_t nnodes = 1, node_rank = 0, nnodes_within_dp = 1, node_rank_within_dp = 0, local_world_size = 1;
  bool enable_expert_parallel = false;
  std::string expert_placement_strategy = "linear", all2all_backend = "allgather_reducescatter";
  ExpertPlacement effective_placement = ExpertPlacement::linear;
  bool use_all2all = false, sequence_parallel_moe = false, enable_eplb = false;
  std::int64_t num_redundant_experts = 0;
  std::optional<std::string> eplb_communicator;
  std::string dcp_comm_backend = "ag_rs";
  bool dcp_q_replicate = false;
  std::int64_t cp_kv_cache_interleave_size = 1;
  bool disable_custom_all_reduce = false;
  bool auto_fit_max_model_len = false;  ///< max_model_len is the most; what fits is known when memory is
  std::int64_t max_model_len = 0, max_num_batched_tokens = 0, max_num_seqs = 0;
  bool enable_chunked_prefill = true, async_scheduling = true, disable_hybrid_kv_cache_manager = false;
  std::optional<std::int64_t> max_num_scheduled_tokens;
  bool enable_prefix_caching = true;
  std::int64_t block_size = 16;
  bool block_size_given = false;
  std::string cache_dtype = "auto";
  std::optional<std::int64_t> mamba_block_size;
  std::string mamba_cache_mode = "none";
  std::string dtype = "bfloat16";
  std::optional<std::string> quantization;
  bool enforce_eager = false;
  std::string cudagraph_mode = "FULL_AND_PIECEWISE";
  std::vector<int> cudagraph_capture_sizes;
  std::int64_t max_cudagraph_capture_size = 0;
  std::string compilation_mode = "VLLM_COMPILE";
  std::int64_t num_hidden_layers = 0;
  std::vector<std::pair<int, int>> pp_layers;  ///< [first, last) per stage; empty if pp_layers_error
  std::string pp_layers_error;                 ///< a wrong VLLM_PP_LAYER_PARTITION: fails when the model is built
  std::vector<int> pp_layer_partition;         ///< as given
  std::optional<std::string> speculative_method;
  std::int64_t num_speculative_tokens = 0;
  double gpu_memory_utilization = 0.92;
  std::optional<std::int64_t> kv_cache_memory_bytes;
  bool language_model_only = false;
  OffloadConfig offload;
  bool offload_ignored = false;  ///< asked for, but this version's model runner has none
  std::optional<LoraConfig> lora;
  std::optional<std::int64_t> max_image_pixels;
  Launch launch;
};

using Resolution = std::variant<Refusal, Resolved>;

/// What vLLM `version` answers to `args`, in vLLM's order of checks: the first violated rule, or the resolved values.
/// Checks made while the model is built are not included; see check_layout() and check_construction().
Resolution resolve(const EngineArgs& args, const ModelFacts& model, const NodeFacts& node, const Environment& env = {},
                   VllmVersion version = kDefaultVllmVersion, EntryMode mode = EntryMode::serve);

/// Facts of a model under arguments that keep parts of it from being built or split: a vision tower that is not loaded
/// (--language-model-only) or whole on every rank (--mm-encoder-tp-mode data).
ModelFacts model_facts(const Model& model, const EngineArgs& args, VllmVersion version);

/// The engine that memory and cost compute from.
EngineConfig engine_config(const Resolved& resolved);

/// Whether `version` can read the model's config.json at all.
std::optional<Refusal> check_model(const ModelFacts& model, VllmVersion version = kDefaultVllmVersion,
                                   bool trust_remote_code = false);

/// Every rule that the layout alone decides, those of check_construction() included. For search: no allocation and well
/// below a microsecond when the layout is accepted. GPU counts are not checked; kernels are asked for where the node is
/// given.
std::optional<Refusal> check_layout(const ModelFacts& model, const ParallelConfig& parallel,
                                    VllmVersion version = kDefaultVllmVersion, const NodeFacts* node = nullptr);

/// Rules that fire while the model class is built: of the given pipeline stage or, without one, of any. `quantization`
/// is the method in force (Resolved::quantization), "" = none.
std::optional<Refusal> check_construction(const ModelFacts& model, const ParallelConfig& parallel,
                                          std::string_view quantization, VllmVersion version = kDefaultVllmVersion,
                                          std::optional<int> stage = std::nullopt);

/// Why vLLM places experts linearly although round_robin was asked for, in words; null: it does as asked. It logs a
/// warning (fused_moe/expert_map_manager.py determine_expert_placement_strategy): round_robin is only for grouped
/// experts without EPLB or redundancy, and with no all2all kernels or ones that route by table.
const char* placement_fallback(const ParallelConfig& parallel, std::optional<int> num_expert_group,
                               VllmVersion version = kDefaultVllmVersion);

/// Placement of experts after these fallbacks.
ExpertPlacement effective_placement(const ParallelConfig& parallel, std::optional<int> num_expert_group,
                                    VllmVersion version = kDefaultVllmVersion);

}  // namespace shardwise
